#include "channel/histogram.h"

#include <algorithm>
#include <array>

namespace corelane {
namespace {

std::array<double, kHistogramBounds> MakeBounds() {
  std::array<double, kHistogramBounds> bounds;
  double bound = 1.0;
  for (double& slot : bounds) {
    slot = bound;
    bound *= 1.15;
  }
  return bounds;
}

}  // namespace

const double* HistogramBoundsUs() {
  static const std::array<double, kHistogramBounds> bounds = MakeBounds();
  return bounds.data();
}

void Histogram::Add(int64_t duration_ns) {
  const double* bounds = HistogramBoundsUs();
  const double* found = std::lower_bound(bounds, bounds + kHistogramBounds, static_cast<double>(duration_ns) / 1000.0);
  counts[found - bounds].fetch_add(1, std::memory_order_relaxed);
  sum_ns.fetch_add(static_cast<uint64_t>(std::max<int64_t>(duration_ns, 0)), std::memory_order_relaxed);
}

}  // namespace corelane
