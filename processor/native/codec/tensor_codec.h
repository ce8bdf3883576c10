// TensorProto to plain memory and back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "codec/field_reader.h"

namespace corelane {

// Element types, numbered as on the wire; those that are not here cannot be served.
enum DataType : int32_t {
  kFloat = 1, kDouble = 2, kInt32 = 3, kUint8 = 4, kInt16 = 5, kInt8 = 6, kString = 7, kComplex64 = 8, kInt64 = 9,
  kBool = 10, kBfloat16 = 14, kUint16 = 17, kComplex128 = 18, kHalf = 19, kUint32 = 22, kUint64 = 23,
};

// What an engine takes for a string, its text apart.
inline constexpr size_t kStringBytes = 24;

// Bytes of one element in memory; 0 for strings and for types that cannot be served.
size_t ElementBytes(int32_t dtype);

// A TensorProto as it stands in the bytes of a request, into which all views point.
struct TensorMessage {
  static constexpr uint32_t kStringField = 8;

  // A run of encoded values of one field: what a packed field holds, or one value of an unpacked one. Of strings: a length
  // and its bytes, then for each string that follows at once the one byte of its tag, a length and its bytes.
  struct Run {
    uint32_t field;
    std::string_view bytes;
  };

  int32_t dtype = 0;
  bool unknown_rank = false;
  std::vector<int64_t> dims;
  std::string_view content;  // tensor_content; strings: each behind its length, four bytes little-endian
  bool exact = false;        // there must be a value for each element
  std::vector<Run> runs;     // in the order of the wire; of every *_val field

  void Clear();

  // Merges serialized bytes into this message, as protobuf does. False if they are malformed.
  bool Merge(std::string_view data);

  // Reads InferTensorContents, as the Open Inference Protocol has it, of a tensor whose dtype is known. False if they are
  // malformed, or hold values of another dtype.
  bool MergeInferContents(std::string_view data);

  // Whether every run is of this field.
  bool HasOnly(uint32_t field) const;

  // The number of elements of `dims`. False for a negative dimension, or if they take over `bytes_max` bytes, where a
  // string counts as kStringBytes.
  bool CountElements(uint64_t bytes_max, int64_t* count) const;
};

// Bytes of one element in front of each string in `content`.
inline constexpr size_t kStringLengthBytes = 4;

// Contract, for both:
//   values = the runs of the dtype's own field, decoded, in order; integers keep their low bits
//   if content is not empty:  out[0..count) = content, whose size must be right
//   else:  out[i] = values[i] for i < len(values);  then the last value again;  zeros (empty strings) if there is none
// False if there are more values than `count`, fewer of an exact tensor, if they or the content are malformed, or if there are values of another
// dtype's field, which nobody sends and nobody would check.
// (TensorFlow's tensor.proto: "the last element is repeated".)

// `out` has room for count * ElementBytes(dtype) bytes.
bool FillNumbers(const TensorMessage& tensor, int64_t count, void* out);

// The numbers where they stand in the request, if they stand there as they do in memory and at an address that is a
// multiple of `alignment`; null otherwise, and FillNumbers knows more.
const char* NumbersInPlace(const TensorMessage& tensor, int64_t count, uintptr_t alignment);

// Calls `put(index, view)` for each element, with views into the request. Of a TensorProto, strings in `content` are
// refused: nobody sends them.
template <typename Put>
bool FillStrings(const TensorMessage& tensor, int64_t count, Put put);

template <typename Put>
bool FillStrings(const TensorMessage& tensor, int64_t count, Put put) {
  if (!tensor.HasOnly(TensorMessage::kStringField)) return false;
  int64_t index = 0;
  std::string_view last;
  if (!tensor.content.empty()) {
    if (!tensor.exact || !tensor.runs.empty()) return false;
    FieldReader reader(tensor.content);
    while (!reader.AtEnd()) {
      std::string_view head;
      if (index == count || !reader.ReadFixed(kStringLengthBytes, &head)) return false;
      uint32_t size;
      std::memcpy(&size, head.data(), sizeof(size));
      if (!reader.ReadFixed(size, &last)) return false;
      put(index++, last);
    }
    return index == count;
  }
  for (const auto& run : tensor.runs) {
    FieldReader reader(run.bytes);
    do {
      // The first string of a run has no tag before it.
      if (index == count || !reader.ReadBytes(&last)) return false;
      put(index++, last);
    } while (reader.SkipByte());
  }
  if (tensor.exact && index < count) return false;
  while (index < count) put(index++, last);
  return true;
}

// Writes a message into memory that has room for it; what it takes is known before.
//
// Thread safety: none; one writer, one thread.
class MessageWriter {
 public:
  explicit MessageWriter(char* out) : out_(out) {}

  static uint64_t VarintBytes(uint64_t value);
  static uint64_t VarintFieldBytes(uint32_t field, uint64_t value);
  static uint64_t BytesFieldBytes(uint32_t field, uint64_t size);

  void Varint(uint64_t value);
  void VarintField(uint32_t field, uint64_t value);
  void BytesHeader(uint32_t field, uint64_t size);  // of a field whose bytes follow
  void BytesField(uint32_t field, std::string_view value);
  void Raw(std::string_view bytes);

  char* end() const { return out_; }

 private:
  char* out_;
};

// Bytes of the TensorProto that WriteTensor writes. `data` are numbers as they lie in memory; a tensor of strings has
// `strings` instead. With `content`, numbers go to tensor_content and not to the dtype's own field.
uint64_t TensorBytes(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count,
                     const std::vector<std::string_view>& strings, bool content);

void WriteTensor(int32_t dtype, const std::vector<int64_t>& dims, const void* data, int64_t count,
                 const std::vector<std::string_view>& strings, bool content, MessageWriter* writer);

}  // namespace corelane
