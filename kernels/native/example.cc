#include "example.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace corelane {
namespace {

enum Wire : uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Fields of a message one after another. In a lenient one a field that says to be longer than what is there has what is
// there, as with TensorFlow's parser: it minds the lengths of keys, of features and of strings only.
class Fields {
 public:
  explicit Fields(std::string_view data, bool is_lenient = false)
      : at_(data.data()), end_(at_ + data.size()), is_lenient_(is_lenient) {}

  // The next field; false at the end, and if what follows is malformed.
  bool Next() {
    if (at_ == end_) return false;
    uint64_t tag;
    if (!Varint(&tag) || (tag >> 3 == 0 && !is_lenient_)) return Fail();
    field = static_cast<uint32_t>(tag >> 3);
    wire = static_cast<uint32_t>(tag & 7);
    switch (wire) {
      case kVarint: return Varint(&number) || Fail();
      case kFixed64: return Take(8);
      case kFixed32: return Take(4);
      case kBytes: {
        if (!Varint(&number)) return Fail();
        const uint64_t left = static_cast<uint64_t>(end_ - at_);
        return Take(is_lenient_ ? std::min(number, left) : number);
      }
      default: return Fail();
    }
  }

  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const uint64_t byte = static_cast<unsigned char>(*at_++);
      *value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool ended() const { return at_ == end_ && !failed_; }

  uint32_t field = 0, wire = 0;
  uint64_t number = 0;
  std::string_view bytes;  // of a field that is no varint

 private:
  bool Take(uint64_t size) {
    if (size > static_cast<uint64_t>(end_ - at_)) return Fail();
    bytes = {at_, static_cast<size_t>(size)};
    at_ += size;
    return true;
  }

  bool Fail() {
    failed_ = true;
    return false;
  }

  const char* at_;
  const char* end_;
  const bool is_lenient_;
  bool failed_ = false;
};

float FloatOf(const char* bytes) {
  float value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

bool ReadValue(const Fields& fields, std::vector<std::string_view>* out) {
  if (fields.wire != kBytes) return false;
  out->push_back(fields.bytes);
  return true;
}

bool ReadValue(const Fields& fields, std::vector<float>* out) {
  if (fields.wire != kBytes && fields.wire != kFixed32) return false;
  if (fields.bytes.size() % sizeof(float) != 0) return false;
  for (size_t at = 0; at < fields.bytes.size(); at += sizeof(float)) out->push_back(FloatOf(fields.bytes.data() + at));
  return true;
}

bool ReadValue(const Fields& fields, std::vector<int64_t>* out) {
  if (fields.wire == kVarint) {
    out->push_back(static_cast<int64_t>(fields.number));
    return true;
  }
  if (fields.wire != kBytes) return false;
  Fields packed(fields.bytes);
  uint64_t value;
  while (!packed.ended()) {
    if (!packed.Varint(&value)) return false;
    out->push_back(static_cast<int64_t>(value));
  }
  return true;
}

// The entry of a key: a serialized Feature.
Found FindEntry(std::string_view example, std::string_view key, std::string_view* feature) {
  Found found = Found::kNo;
  Fields outer(example, true);
  while (outer.Next()) {
    if (outer.field != 1 || outer.wire != kBytes) continue;
    Fields entries(outer.bytes, true);
    while (entries.Next()) {
      if (entries.field != 1 || entries.wire != kBytes) return Found::kMalformed;
      Fields entry(entries.bytes);
      std::string_view name, value;
      for (int number = 0; number < 2; ++number) {
        if (!entry.Next() || entry.wire != kBytes || entry.field > 2) return Found::kMalformed;
        (entry.field == 1 ? name : value) = entry.bytes;
      }
      if (!entry.ended()) return Found::kMalformed;
      if (name == key) {
        *feature = value;
        found = Found::kYes;
      }
    }
    if (!entries.ended()) return Found::kMalformed;
  }
  return outer.ended() ? found : Found::kMalformed;
}

template <typename T>
Found Read(std::string_view example, std::string_view key, uint32_t kind, std::vector<T>* out) {
  std::string_view feature;
  const Found found = FindEntry(example, key, &feature);
  if (found != Found::kYes) return found;
  Fields lists(feature, true);
  if (feature.empty()) return Found::kNo;
  if (!lists.Next() || lists.field > 3 || lists.wire != kBytes) return Found::kMalformed;
  if (lists.field != kind) return Found::kOtherType;
  constexpr bool is_text = std::is_same_v<T, std::string_view>;
  Fields values(lists.bytes, !is_text);
  for (bool is_first = true; values.Next(); is_first = false) {
    const bool is_packed = !is_text && values.wire == kBytes;
    if (values.field != 1 || (is_packed && !is_first) || !ReadValue(values, out)) return Found::kMalformed;
    if (is_packed) return Found::kYes;  // what follows packed numbers is not looked at
  }
  return values.ended() ? Found::kYes : Found::kMalformed;
}

}  // namespace

Found ReadFeature(std::string_view example, std::string_view key, std::vector<std::string_view>* out) {
  return Read(example, key, 1, out);
}

Found ReadFeature(std::string_view example, std::string_view key, std::vector<float>* out) {
  return Read(example, key, 2, out);
}

Found ReadFeature(std::string_view example, std::string_view key, std::vector<int64_t>* out) {
  return Read(example, key, 3, out);
}

}  // namespace corelane
