// Lookups of rows in a table, and sums of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace corelane {

enum class RowType : uint8_t { kFloat32, kBfloat16, kInt8 };

// Bytes of a table's row: `dimension` elements; an int8 row begins with its float scale and float offset.
size_t RowBytes(RowType type, int64_t dimension);

// An embedding table: `rows` rows of `dimension` elements, row-major, in memory that somebody else keeps.
//   fp32: x; bf16: the upper half of x's bits; int8: x = scale * q + offset with q in 0 .. 255
struct RowTable {
  RowType type = RowType::kFloat32;
  int64_t rows = 0;
  int64_t dimension = 0;
  const char* data = nullptr;
  std::shared_ptr<const void> owner;  // of the data
};

// out[0 .. dimension) = sum over i < count of weights[i] * table[ids[i]], times `scale`; null weights are 1. Sums run in
// the order of the ids.
using SumRows = void (*)(const RowTable& table, const int64_t* ids, const float* weights, int64_t count, float scale,
                         float* out);

struct RowKernels {
  const char* name;
  SumRows sum;
};

// The reference, and those for wider vectors; null where they were not built for this architecture.
const RowKernels* ScalarRowKernels();
const RowKernels* Avx2RowKernels();
const RowKernels* Avx512RowKernels();

// The fastest that this processor can run.
const RowKernels& BestRowKernels();

// One by name: "scalar", "avx2", "avx512"; null if this processor cannot run it.
const RowKernels* RowKernelsNamed(const std::string& name);

inline void PrefetchRow(const RowTable& table, size_t row_bytes, int64_t id) {
  const char* row = table.data + static_cast<size_t>(id) * row_bytes;
  for (size_t byte = 0; byte < row_bytes; byte += 64) __builtin_prefetch(row + byte);
}

}  // namespace corelane
