// Discrete events: Poisson arrivals of several kinds of request on some cores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace corelane {

// One version's requests. Times in ms.
struct Arrivals {
  double per_ms = 0;
  std::vector<std::pair<double, double>> service;  // (probability, ms)
  double slo_ms = 0;                               // 0: none, every answer is in time
  size_t waiting_max = 0;                          // more are refused
  double waiting_ms_max = 0;                       // longer waits are given up; 0: no limit
  double weight = 1;                               // of its share of the cores
};

// What became of them. Only requests that arrived after the warm-up count.
struct Outcome {
  uint64_t arrived = 0;
  uint64_t answered = 0;
  uint64_t in_time = 0;  // answered within slo_ms
  uint64_t refused = 0;  // no room, or waited too long
  double mean_ms = 0;
  double p50_ms = 0;
  double p99_ms = 0;
};

struct Span {
  double warm_up_ms;
  double ms;
  uint64_t seed;
};

// Sessions, one a core, that each run a request to its end; a free one takes the first request of the version that is
// furthest behind its share. With one version that is the order of arrival.
std::vector<Outcome> SimulateSessions(const std::vector<Arrivals>& versions, int cores, const Span& span);

// Threads without number that the kernel slices: all requests run at once, each at the same speed. While there are more
// than cores, every slice of `slice_ms` costs `switch_ms` on top.
std::vector<Outcome> SimulateSlicing(const std::vector<Arrivals>& versions, int cores, double slice_ms, double switch_ms,
                                     const Span& span);

}  // namespace corelane
