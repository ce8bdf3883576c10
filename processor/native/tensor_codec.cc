#include "tensor_codec.h"

#include <algorithm>
#include <cstring>

#include "field_reader.h"

namespace corelane {
namespace {

// Fields of TensorProto.
enum : uint32_t {
  kDtype = 1, kShape = 2, kContent = 4, kFloatVal = 5, kDoubleVal = 6, kIntVal = 7, kStringVal = TensorMessage::kStringField, kScomplexVal = 9,
  kInt64Val = 10, kBoolVal = 11, kDcomplexVal = 12, kHalfVal = 13, kUint32Val = 16, kUint64Val = 17,
};

uint32_t ValueField(int32_t dtype) {
  switch (dtype) {
    case kFloat: return kFloatVal;
    case kDouble: return kDoubleVal;
    case kInt32: case kUint8: case kInt16: case kInt8: case kUint16: return kIntVal;
    case kString: return kStringVal;
    case kComplex64: return kScomplexVal;
    case kInt64: return kInt64Val;
    case kBool: return kBoolVal;
    case kComplex128: return kDcomplexVal;
    case kBfloat16: case kHalf: return kHalfVal;
    case kUint32: return kUint32Val;
    case kUint64: return kUint64Val;
    default: return 0;
  }
}

// How one value of a *_val field stands on the wire; kBytes for what is no such field.
WireType ValueWireType(uint32_t field) {
  switch (field) {
    case kFloatVal: case kScomplexVal: return kFixed32;
    case kDoubleVal: case kDcomplexVal: return kFixed64;
    case kIntVal: case kInt64Val: case kBoolVal: case kHalfVal: case kUint32Val: case kUint64Val: return kVarint;
    default: return kBytes;
  }
}

// Names that are not are somebody else's to judge: protobuf refuses those that are no UTF-8.
bool IsAscii(std::string_view text) {
  for (char byte : text) {
    if (static_cast<uint8_t>(byte) >= 0x80) return false;
  }
  return true;
}

bool MergeShape(std::string_view data, TensorMessage* tensor) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field == 3 && wire_type == kVarint) {
      uint64_t value;
      if (!reader.ReadVarint(&value)) return false;
      tensor->unknown_rank = value != 0;
      continue;
    }
    if (field != 2 || wire_type != kBytes) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    std::string_view dim;
    if (!reader.ReadBytes(&dim)) return false;
    FieldReader dim_reader(dim);
    uint64_t size = 0;
    while (!dim_reader.AtEnd()) {
      if (!dim_reader.ReadTag(&field, &wire_type)) return false;
      if (field == 1 && wire_type == kVarint) {
        if (!dim_reader.ReadVarint(&size)) return false;
      } else if (field == 2 && wire_type == kBytes) {
        std::string_view name;
        if (!dim_reader.ReadBytes(&name) || !IsAscii(name)) return false;
      } else if (!dim_reader.Skip(wire_type)) {
        return false;
      }
    }
    tensor->dims.push_back(static_cast<int64_t>(size));
  }
  return true;
}

// Copies runs of fixed-size values. `width` is that of a wire value, of which an element has `per_element`.
bool FillFixed(const TensorMessage& tensor, size_t width, size_t per_element, int64_t count, char* out,
               int64_t* filled) {
  size_t bytes = 0;
  const size_t room = static_cast<size_t>(count) * width * per_element;
  for (const auto& run : tensor.runs) {
    if (run.bytes.size() % width != 0 || run.bytes.size() > room - bytes) return false;
    if (!run.bytes.empty()) std::memcpy(out + bytes, run.bytes.data(), run.bytes.size());
    bytes += run.bytes.size();
  }
  if (bytes % (width * per_element) != 0) return false;
  *filled = static_cast<int64_t>(bytes / (width * per_element));
  return true;
}

// Decodes runs of varints, each by `convert`.
template <typename T, typename Convert>
bool FillVarints(const TensorMessage& tensor, int64_t count, T* out, int64_t* filled, Convert convert) {
  int64_t index = 0;
  for (const auto& run : tensor.runs) {
    FieldReader reader(run.bytes);
    while (!reader.AtEnd()) {
      uint64_t value;
      if (index == count || !reader.ReadVarint(&value)) return false;
      out[index++] = convert(value);
    }
  }
  *filled = index;
  return true;
}

template <typename T>
bool FillIntegers(const TensorMessage& tensor, int64_t count, void* out, int64_t* filled) {
  return FillVarints(tensor, count, static_cast<T*>(out), filled, [](uint64_t value) { return static_cast<T>(value); });
}

template <typename T>
void AppendVarints(uint32_t field, const void* data, int64_t count, std::string* out) {
  std::string packed;
  packed.reserve(static_cast<size_t>(count) * 2);
  MessageWriter writer(&packed);
  const char* next = static_cast<const char*>(data);
  for (int64_t index = 0; index < count; ++index, next += sizeof(T)) {
    T value;
    std::memcpy(&value, next, sizeof(T));
    // Negative numbers are sign-extended to 64 bits, as protobuf's int32 is.
    writer.Varint(static_cast<uint64_t>(static_cast<int64_t>(value)));
  }
  MessageWriter(out).BytesField(field, packed);
}

void AppendHeader(int32_t dtype, const std::vector<int64_t>& dims, std::string* out) {
  MessageWriter writer(out);
  writer.VarintField(kDtype, static_cast<uint64_t>(dtype));
  std::string shape;
  for (int64_t size : dims) {
    std::string dim;
    if (size != 0) MessageWriter(&dim).VarintField(1, static_cast<uint64_t>(size));
    MessageWriter(&shape).BytesField(2, dim);
  }
  writer.BytesField(kShape, shape);
}

}  // namespace

size_t ElementBytes(int32_t dtype) {
  switch (dtype) {
    case kUint8: case kInt8: case kBool: return 1;
    case kInt16: case kUint16: case kBfloat16: case kHalf: return 2;
    case kFloat: case kInt32: case kUint32: return 4;
    case kDouble: case kInt64: case kUint64: case kComplex64: return 8;
    case kComplex128: return 16;
    default: return 0;
  }
}

void TensorMessage::Clear() {
  dtype = 0;
  unknown_rank = false;
  dims.clear();
  content = {};
  runs.clear();
}

bool TensorMessage::Merge(std::string_view data) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    std::string_view bytes;
    uint64_t value;
    if (field == kDtype && wire_type == kVarint) {
      if (!reader.ReadVarint(&value)) return false;
      dtype = static_cast<int32_t>(value);
    } else if (field == kShape && wire_type == kBytes) {
      if (!reader.ReadBytes(&bytes) || !MergeShape(bytes, this)) return false;
    } else if (field == kContent && wire_type == kBytes) {
      if (!reader.ReadBytes(&content)) return false;
    } else if (field == kStringVal && wire_type == kBytes) {
      if (!reader.ReadBytes(&bytes)) return false;
      runs.push_back({field, bytes});
    } else if (ValueWireType(field) != kBytes && wire_type == kBytes) {
      if (!reader.ReadBytes(&bytes)) return false;
      runs.push_back({field, bytes});
    } else if (ValueWireType(field) == kVarint && wire_type == kVarint) {
      const char* start = data.data() + reader.Position();
      if (!reader.ReadVarint(&value)) return false;
      runs.push_back({field, std::string_view(start, data.data() + reader.Position() - start)});
    } else if (ValueWireType(field) != kBytes && wire_type == ValueWireType(field)) {
      if (!reader.ReadFixed(wire_type == kFixed32 ? 4 : 8, &bytes)) return false;
      runs.push_back({field, bytes});
    } else if (!reader.Skip(wire_type)) {
      return false;
    }
  }
  return true;
}

bool TensorMessage::CountElements(uint64_t bytes_max, int64_t* count) const {
  uint64_t bytes = dtype == kString ? kStringBytes : ElementBytes(dtype);
  bool empty = false;
  *count = 1;
  for (int64_t size : dims) {
    if (size < 0) return false;
    if (size == 0) {
      empty = true;
    } else {
      if (bytes > bytes_max / static_cast<uint64_t>(size)) return false;
      bytes *= static_cast<uint64_t>(size);
      *count *= size;
    }
  }
  if (empty) *count = 0;
  return bytes <= bytes_max;
}

bool TensorMessage::HasOnly(uint32_t field) const {
  for (const Run& run : runs) {
    if (run.field != field) return false;
  }
  return true;
}

bool FillNumbers(const TensorMessage& tensor, int64_t count, void* out) {
  const size_t element = ElementBytes(tensor.dtype);
  if (element == 0) return false;
  char* bytes = static_cast<char*>(out);
  if (!tensor.content.empty()) {
    if (tensor.content.size() != static_cast<size_t>(count) * element || !tensor.runs.empty()) return false;
    std::memcpy(out, tensor.content.data(), tensor.content.size());
    if (tensor.dtype == kBool) {
      for (int64_t index = 0; index < count; ++index) bytes[index] = bytes[index] != 0;
    }
    return true;
  }
  const uint32_t field = ValueField(tensor.dtype);
  if (!tensor.HasOnly(field)) return false;
  if (count == 0) {
    return std::all_of(tensor.runs.begin(), tensor.runs.end(), [](const auto& run) { return run.bytes.empty(); });
  }
  int64_t filled = 0;
  bool fine = false;
  switch (tensor.dtype) {
    case kFloat: fine = FillFixed(tensor, 4, 1, count, bytes, &filled); break;
    case kDouble: fine = FillFixed(tensor, 8, 1, count, bytes, &filled); break;
    case kComplex64: fine = FillFixed(tensor, 4, 2, count, bytes, &filled); break;
    case kComplex128: fine = FillFixed(tensor, 8, 2, count, bytes, &filled); break;
    case kBool:
      // Any varint but zero is true, which its low bits may not show.
      fine = FillVarints(tensor, count, static_cast<uint8_t*>(out), &filled, [](uint64_t value) { return value != 0; });
      break;
    case kUint8: case kInt8: fine = FillIntegers<uint8_t>(tensor, count, out, &filled); break;
    case kInt16: case kUint16: case kHalf: case kBfloat16:
      fine = FillIntegers<uint16_t>(tensor, count, out, &filled);
      break;
    case kInt32: case kUint32: fine = FillIntegers<uint32_t>(tensor, count, out, &filled); break;
    default: fine = FillIntegers<uint64_t>(tensor, count, out, &filled); break;
  }
  if (!fine) return false;
  if (filled == 0) {
    std::memset(out, 0, static_cast<size_t>(count) * element);
  } else {
    const char* last = bytes + (filled - 1) * element;
    for (int64_t index = filled; index < count; ++index) std::memcpy(bytes + index * element, last, element);
  }
  return true;
}

void MessageWriter::Varint(uint64_t value) {
  while (value >= 0x80) {
    out_->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out_->push_back(static_cast<char>(value));
}

void MessageWriter::VarintField(uint32_t field, uint64_t value) {
  Varint(field << 3 | kVarint);
  Varint(value);
}

void MessageWriter::BytesField(uint32_t field, std::string_view value) {
  Varint(field << 3 | kBytes);
  Varint(value.size());
  out_->append(value);
}

void AppendNumbers(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count, std::string* out) {
  AppendHeader(dtype, dims, out);
  if (count == 0) return;
  const uint32_t field = ValueField(dtype);
  switch (dtype) {
    case kFloat: case kDouble: case kComplex64: case kComplex128: case kBool:
      // These stand on the wire as they do in memory.
      MessageWriter(out).BytesField(
          field, std::string_view(static_cast<const char*>(data), static_cast<size_t>(count) * ElementBytes(dtype)));
      break;
    case kInt8: AppendVarints<int8_t>(field, data, count, out); break;
    case kUint8: AppendVarints<uint8_t>(field, data, count, out); break;
    case kInt16: AppendVarints<int16_t>(field, data, count, out); break;
    case kUint16: case kHalf: case kBfloat16: AppendVarints<uint16_t>(field, data, count, out); break;
    case kInt32: AppendVarints<int32_t>(field, data, count, out); break;
    case kUint32: AppendVarints<uint32_t>(field, data, count, out); break;
    default: AppendVarints<uint64_t>(field, data, count, out); break;
  }
}

void AppendStrings(const std::vector<int64_t>& dims, const std::vector<std::string_view>& values, std::string* out) {
  AppendHeader(kString, dims, out);
  for (std::string_view value : values) MessageWriter(out).BytesField(kStringVal, value);
}

}  // namespace corelane
