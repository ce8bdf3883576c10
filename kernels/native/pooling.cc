#include "pooling.h"

#include <algorithm>
#include <string>
#include <vector>

#include "instruction_sets.h"

namespace corelane {
namespace {

bool Has(const std::vector<std::string>& needed) {
  static const std::vector<std::string> kSets = InstructionSets();
  return std::all_of(needed.begin(), needed.end(), [](const std::string& name) {
    return std::find(kSets.begin(), kSets.end(), name) != kSets.end();
  });
}

}  // namespace

size_t RowBytes(RowType type, int64_t dimension) {
  const size_t elements = static_cast<size_t>(dimension);
  switch (type) {
    case RowType::kFloat32: return 4 * elements;
    case RowType::kBfloat16: return 2 * elements;
    case RowType::kInt8: return 2 * sizeof(float) + elements;
  }
  return 0;
}

const RowKernels* RowKernelsNamed(const std::string& name) {
  if (name == "scalar") return ScalarRowKernels();
  if (name == "avx2" && Has({"avx2"})) return Avx2RowKernels();
  if (name == "avx512" && Has({"avx512f", "avx512bw", "avx512dq", "avx512vl"})) return Avx512RowKernels();
  return nullptr;
}

const RowKernels& BestRowKernels() {
  static const RowKernels* const kBest = [] {
    for (const char* name : {"avx512", "avx2"}) {
      if (const RowKernels* found = RowKernelsNamed(name)) return found;
    }
    return ScalarRowKernels();
  }();
  return *kBest;
}

}  // namespace corelane
