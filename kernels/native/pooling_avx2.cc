#include "pooling.h"

namespace corelane {

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace {
constexpr int64_t kLanes = 8;
#include "pooling_body.h"
}  // namespace
#pragma GCC pop_options

const RowKernels* Avx2RowKernels() {
  static constexpr RowKernels kKernels{"avx2", &Pool, &Gather, &Bucketize};
  return &kKernels;
}
#else
const RowKernels* Avx2RowKernels() { return nullptr; }
#endif

}  // namespace corelane
