// Latency histograms in shared memory.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace corelane {

inline constexpr size_t kHistogramBounds = 133;

// Upper bounds in microseconds, each 1.15 times the last, from 1 us to over 100 s: a quantile is within 15 %.
const double* HistogramBoundsUs();

// Counts of durations; one for each bound, and one for what is above the last.
//
// Thread safety: any number of writers and readers, in any process. Plain counters: zeroed memory is an empty
// histogram.
struct Histogram {
  std::atomic<uint64_t> counts[kHistogramBounds + 1];
  std::atomic<uint64_t> sum_ns;

  void Add(int64_t duration_ns);
};

}  // namespace corelane
