// A cursor over the fields of a serialized protobuf message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace corelane {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Reads what it is told to, in order; every method returns false, and reads nothing more, on bytes that are cut short or
// malformed. Views that it hands out are into the data given.
//
// Thread safety: none; one reader, one thread.
// Invariant: position_ <= data_.size().
class FieldReader {
 public:
  explicit FieldReader(std::string_view data) : data_(data) {}

  bool AtEnd() const { return position_ == data_.size(); }

  size_t Position() const { return position_; }

  bool ReadVarint(uint64_t* value) {
    uint64_t result = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (AtEnd()) return false;
      const auto byte = static_cast<uint8_t>(data_[position_++]);
      if (shift < 64) result |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) {
        *value = result;
        return true;
      }
    }
    return false;
  }

  // A field's number and wire type. False for number 0.
  bool ReadTag(uint32_t* field, uint32_t* wire_type) {
    uint64_t tag;
    if (!ReadVarint(&tag) || tag > UINT32_MAX || (tag >> 3) == 0) return false;
    *field = static_cast<uint32_t>(tag >> 3);
    *wire_type = static_cast<uint32_t>(tag & 7);
    return true;
  }

  bool ReadBytes(std::string_view* value) {
    uint64_t size;
    if (!ReadVarint(&size) || size > data_.size() - position_) return false;
    *value = data_.substr(position_, size);
    position_ += size;
    return true;
  }

  // Steps over one byte. False at the end.
  bool SkipByte() {
    if (AtEnd()) return false;
    ++position_;
    return true;
  }

  // Steps over one byte if it is `byte`.
  bool SkipByteIf(char byte) {
    if (AtEnd() || data_[position_] != byte) return false;
    ++position_;
    return true;
  }

  // Eight or four bytes, as they stand.
  bool ReadFixed(size_t count, std::string_view* value) {
    if (count > data_.size() - position_) return false;
    *value = data_.substr(position_, count);
    position_ += count;
    return true;
  }

  // Steps over a value. False for groups, which no message of ours has.
  bool Skip(uint32_t wire_type) {
    uint64_t ignored;
    std::string_view bytes;
    switch (wire_type) {
      case kVarint: return ReadVarint(&ignored);
      case kFixed64: return ReadFixed(8, &bytes);
      case kBytes: return ReadBytes(&bytes);
      case kFixed32: return ReadFixed(4, &bytes);
      default: return false;
    }
  }

 private:
  std::string_view data_;
  size_t position_ = 0;
};

}  // namespace corelane
