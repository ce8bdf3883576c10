#include "pooling.h"

namespace corelane {
namespace {
constexpr int64_t kLanes = 4;
#include "pooling_body.h"
}  // namespace

const RowKernels* ScalarRowKernels() {
  static constexpr RowKernels kKernels{"scalar", &Pool, &Gather, &Bucketize};
  return &kKernels;
}

}  // namespace corelane
