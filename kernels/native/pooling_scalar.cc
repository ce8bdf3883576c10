#include "pooling.h"

namespace corelane {
namespace {
#include "pooling_body.h"
}  // namespace

const RowKernels* ScalarRowKernels() {
  static constexpr RowKernels kKernels{"scalar", &Sum};
  return &kKernels;
}

}  // namespace corelane
