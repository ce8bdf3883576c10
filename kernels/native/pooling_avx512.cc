#include "pooling.h"

namespace corelane {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")
namespace {
constexpr int64_t kLanes = 16;
#include "pooling_body.h"
}  // namespace
#pragma GCC pop_options

const RowKernels* Avx512RowKernels() {
  static constexpr RowKernels kKernels{"avx512", &Pool, &Gather, &Bucketize};
  return &kKernels;
}
#else
const RowKernels* Avx512RowKernels() { return nullptr; }
#endif

}  // namespace corelane
