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

enum class Combiner : uint8_t { kSum, kMean, kSqrtN };

// For each row r < batch, at out + r * stride: the sum over i in rows[r] .. rows[r + 1] of weights[i] * table[ids[i]], by
// the combiner divided by the sum of the weights, or by the root of the sum of their squares; zeros if that is 0. Null
// weights are 1. Sums run in the order of the ids.
struct Pooling {
  const RowTable& table;
  const int64_t* ids;
  const int64_t* rows;
  const float* weights;
  int64_t batch;
  Combiner combiner;
  float* out;
  int64_t stride;
};

// table[ids[r * by_row + i]] at out + r * stride + i * pitch, for r < batch and i < by_row.
struct Gathering {
  const RowTable& table;
  const int64_t* ids;
  int64_t batch;
  int64_t by_row;
  float* out;
  int64_t stride;
  int64_t pitch;
};

// out[i] = how many of the sorted bounds are not above values[i]; all of them for NaN.
struct Bucketing {
  const float* values;
  int64_t count;
  const float* bounds;
  int64_t bound_count;
  int64_t* out;
};

struct RowKernels {
  const char* name;
  void (*pool)(const Pooling&);
  void (*gather)(const Gathering&);
  void (*bucketize)(const Bucketing&);
};

// The reference, and those for wider vectors; null where they were not built for this architecture.
const RowKernels* ScalarRowKernels();
const RowKernels* Avx2RowKernels();
const RowKernels* Avx512RowKernels();

// The fastest that this processor can run.
const RowKernels& BestRowKernels();

// One by name: "scalar", "avx2", "avx512"; null if this processor cannot run it.
const RowKernels* RowKernelsNamed(const std::string& name);

}  // namespace corelane
