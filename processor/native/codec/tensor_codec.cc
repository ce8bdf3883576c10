#include "codec/tensor_codec.h"

#include <algorithm>
#include <cstring>

#include "codec/field_reader.h"

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

// The field of InferTensorContents that has a dtype's values; 0 if none has.
uint32_t InferField(int32_t dtype) {
  switch (dtype) {
    case kBool: return 1;
    case kInt8: case kInt16: case kInt32: return 2;
    case kInt64: return 3;
    case kUint8: case kUint16: case kUint32: return 4;
    case kUint64: return 5;
    case kFloat: return 6;
    case kDouble: return 7;
    case kString: return TensorMessage::kStringField;
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

// Calls `use` with each number as it stands on the wire as a varint; negative ones are sign-extended to 64 bits, as
// protobuf's int32 is.
template <typename T, typename Use>
void EachVarintOf(const void* data, int64_t count, Use use) {
  const char* next = static_cast<const char*>(data);
  for (int64_t index = 0; index < count; ++index, next += sizeof(T)) {
    T value;
    std::memcpy(&value, next, sizeof(T));
    use(static_cast<uint64_t>(static_cast<int64_t>(value)));
  }
}

template <typename Use>
void EachVarint(int32_t dtype, const void* data, int64_t count, Use use) {
  switch (dtype) {
    case kInt8: return EachVarintOf<int8_t>(data, count, use);
    case kUint8: return EachVarintOf<uint8_t>(data, count, use);
    case kInt16: return EachVarintOf<int16_t>(data, count, use);
    case kUint16: case kHalf: case kBfloat16: return EachVarintOf<uint16_t>(data, count, use);
    case kInt32: return EachVarintOf<int32_t>(data, count, use);
    case kUint32: return EachVarintOf<uint32_t>(data, count, use);
    default: return EachVarintOf<uint64_t>(data, count, use);
  }
}

// Whether numbers stand in the dtype's own field as they do in memory.
bool IsRawOnTheWire(int32_t dtype) {
  return dtype == kFloat || dtype == kDouble || dtype == kComplex64 || dtype == kComplex128 || dtype == kBool;
}

// A dimension of size zero has no field at all, as proto3 has it.
uint64_t DimBytes(int64_t size) {
  return size == 0 ? 0 : MessageWriter::VarintFieldBytes(1, static_cast<uint64_t>(size));
}

uint64_t ShapeBytes(const std::vector<int64_t>& dims) {
  uint64_t bytes = 0;
  for (int64_t size : dims) bytes += MessageWriter::BytesFieldBytes(2, DimBytes(size));
  return bytes;
}

// Bytes of the field that holds all numbers, without its tag and length.
uint64_t NumbersBytes(int32_t dtype, const void* data, int64_t count, bool content) {
  if (content || IsRawOnTheWire(dtype)) return static_cast<uint64_t>(count) * ElementBytes(dtype);
  uint64_t bytes = 0;
  EachVarint(dtype, data, count, [&bytes](uint64_t value) { bytes += MessageWriter::VarintBytes(value); });
  return bytes;
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
  exact = false;
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
      constexpr char kTag = kStringVal << 3 | kBytes;
      const size_t start = reader.Position();
      do {
        if (!reader.ReadBytes(&bytes)) return false;
      } while (reader.SkipByteIf(kTag));
      runs.push_back({field, data.substr(start, reader.Position() - start)});
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

bool TensorMessage::MergeInferContents(std::string_view data) {
  FieldReader reader(data);
  uint32_t field, wire_type;
  while (!reader.AtEnd()) {
    if (!reader.ReadTag(&field, &wire_type)) return false;
    if (field < 1 || field > 8) {
      if (!reader.Skip(wire_type)) return false;
      continue;
    }
    if (field != InferField(dtype)) return false;
    // Both messages have the same encoding for a type, under other numbers.
    const uint32_t own = ValueField(dtype);
    std::string_view bytes;
    if (dtype == kString) {
      constexpr char kTag = kStringVal << 3 | kBytes;
      const size_t start = reader.Position();
      if (wire_type != kBytes) return false;
      do {
        if (!reader.ReadBytes(&bytes)) return false;
      } while (reader.SkipByteIf(kTag));
      runs.push_back({own, data.substr(start, reader.Position() - start)});
    } else if (wire_type == kBytes) {
      if (!reader.ReadBytes(&bytes)) return false;
      runs.push_back({own, bytes});
    } else if (wire_type == ValueWireType(own)) {
      const size_t start = reader.Position();
      if (!reader.Skip(wire_type)) return false;
      runs.push_back({own, data.substr(start, reader.Position() - start)});
    } else {
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
  if (!fine || (tensor.exact && filled != count)) return false;
  if (filled == 0) {
    std::memset(out, 0, static_cast<size_t>(count) * element);
  } else {
    const char* last = bytes + (filled - 1) * element;
    for (int64_t index = filled; index < count; ++index) std::memcpy(bytes + index * element, last, element);
  }
  return true;
}

const char* NumbersInPlace(const TensorMessage& tensor, int64_t count, uintptr_t alignment) {
  // A bool that is neither 0 nor 1 has to become one of them.
  if (ElementBytes(tensor.dtype) == 0 || tensor.dtype == kBool || count == 0) return nullptr;
  std::string_view bytes = tensor.content;
  if (!tensor.runs.empty()) {
    const TensorMessage::Run& run = tensor.runs.front();
    if (!bytes.empty() || tensor.runs.size() != 1 || !IsRawOnTheWire(tensor.dtype)) return nullptr;
    if (run.field != ValueField(tensor.dtype)) return nullptr;
    bytes = run.bytes;
  }
  if (bytes.size() != static_cast<uint64_t>(count) * ElementBytes(tensor.dtype)) return nullptr;
  return reinterpret_cast<uintptr_t>(bytes.data()) % alignment == 0 ? bytes.data() : nullptr;
}

uint64_t MessageWriter::VarintBytes(uint64_t value) {
  // Seven bits a byte; one byte for zero.
  const int bits = 64 - __builtin_clzll(value | 1);
  return static_cast<uint64_t>((bits + 6) / 7);
}

uint64_t MessageWriter::VarintFieldBytes(uint32_t field, uint64_t value) {
  return VarintBytes(field << 3) + VarintBytes(value);
}

uint64_t MessageWriter::BytesFieldBytes(uint32_t field, uint64_t size) {
  return VarintBytes(field << 3) + VarintBytes(size) + size;
}

void MessageWriter::Varint(uint64_t value) {
  while (value >= 0x80) {
    *out_++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *out_++ = static_cast<char>(value);
}

void MessageWriter::VarintField(uint32_t field, uint64_t value) {
  Varint(field << 3 | kVarint);
  Varint(value);
}

void MessageWriter::BytesHeader(uint32_t field, uint64_t size) {
  Varint(field << 3 | kBytes);
  Varint(size);
}

void MessageWriter::BytesField(uint32_t field, std::string_view value) {
  BytesHeader(field, value.size());
  Raw(value);
}

void MessageWriter::Raw(std::string_view bytes) {
  if (!bytes.empty()) std::memcpy(out_, bytes.data(), bytes.size());
  out_ += bytes.size();
}

uint64_t TensorBytes(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count,
                     const std::vector<std::string_view>& strings, bool content) {
  uint64_t bytes = MessageWriter::VarintFieldBytes(kDtype, static_cast<uint64_t>(dtype)) +
                   MessageWriter::BytesFieldBytes(kShape, ShapeBytes(dims));
  if (dtype == kString) {
    for (std::string_view text : strings) bytes += MessageWriter::BytesFieldBytes(kStringVal, text.size());
  } else if (count != 0) {
    bytes += MessageWriter::BytesFieldBytes(content ? kContent : ValueField(dtype),
                                            NumbersBytes(dtype, data, count, content));
  }
  return bytes;
}

void WriteTensor(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count,
                 const std::vector<std::string_view>& strings, bool content, MessageWriter* writer) {
  writer->VarintField(kDtype, static_cast<uint64_t>(dtype));
  writer->BytesHeader(kShape, ShapeBytes(dims));
  for (int64_t size : dims) {
    writer->BytesHeader(2, DimBytes(size));
    if (size != 0) writer->VarintField(1, static_cast<uint64_t>(size));
  }
  if (dtype == kString) {
    for (std::string_view text : strings) writer->BytesField(kStringVal, text);
    return;
  }
  if (count == 0) return;
  const uint64_t bytes = NumbersBytes(dtype, data, count, content);
  writer->BytesHeader(content ? kContent : ValueField(dtype), bytes);
  if (content || IsRawOnTheWire(dtype)) {
    writer->Raw(std::string_view(static_cast<const char*>(data), bytes));
  } else {
    EachVarint(dtype, data, count, [writer](uint64_t value) { writer->Varint(value); });
  }
}

}  // namespace corelane
