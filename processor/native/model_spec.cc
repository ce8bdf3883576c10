#include "model_spec.h"

namespace corelane {
namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// A cursor over serialized fields. Invariant: position_ <= data_.size().
class FieldReader {
 public:
  explicit FieldReader(std::string_view data) : data_(data) {}

  bool AtEnd() const { return position_ == data_.size(); }

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

  bool Skip(uint32_t wire_type) {
    uint64_t ignored;
    std::string_view bytes;
    switch (wire_type) {
      case kVarint: return ReadVarint(&ignored);
      case kFixed64: return Advance(8);
      case kBytes: return ReadBytes(&bytes);
      case kFixed32: return Advance(4);
      default: return false;
    }
  }

 private:
  bool Advance(size_t count) {
    if (count > data_.size() - position_) return false;
    position_ += count;
    return true;
  }

  std::string_view data_;
  size_t position_ = 0;
};

bool MergeInt64Value(std::string_view data, int64_t* value) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == 1 && wire_type == kVarint) {
      uint64_t raw;
      if (!reader.ReadVarint(&raw)) return false;
      *value = static_cast<int64_t>(raw);
    } else if (!reader.Skip(wire_type)) {
      return false;
    }
  }
  return true;
}

bool MergeModelSpec(std::string_view data, ModelSpec* spec) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field < 1 || field > 4) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    std::string_view bytes;
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return false;
    if (field == 1) {
      spec->name = bytes;
    } else if (field == 3) {
      spec->signature_name = bytes;
    } else if (field == 4) {
      spec->version_label = std::string(bytes);
      spec->version.reset();
    } else {
      int64_t version = spec->version.value_or(0);
      if (!MergeInt64Value(bytes, &version)) return false;
      spec->version = version;
      spec->version_label.reset();
    }
  }
  return true;
}

}  // namespace

PeekResult PeekModelSpec(std::string_view request, int depth, ModelSpec* spec) {
  *spec = ModelSpec();
  FieldReader reader(request);
  uint32_t field, wire_type;
  bool entered = false;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return PeekResult::kMalformed;
    if (field != 1) {
      if (!reader.Skip(wire_type)) return PeekResult::kMalformed;
      continue;
    }
    std::string_view bytes;
    if (wire_type != kBytes || !reader.ReadBytes(&bytes)) return PeekResult::kMalformed;
    if (depth == 0) {
      spec->present = true;
      if (!MergeModelSpec(bytes, spec)) return PeekResult::kMalformed;
    } else if (!entered) {
      entered = true;
      if (PeekModelSpec(bytes, depth - 1, spec) != PeekResult::kOk) return PeekResult::kMalformed;
    }
  }
  return PeekResult::kOk;
}

}  // namespace corelane
