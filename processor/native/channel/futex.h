// Waiting on a word of memory that processes share.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace corelane {

inline constexpr int64_t kForever = INT64_MAX;
inline constexpr uint32_t kAnyLane = FUTEX_BITSET_MATCH_ANY;

inline int64_t MonotonicNs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// Sleeps while `word` is `expected`, until a wake whose lanes meet `lanes`, or until `until_ns` (monotonic). May return
// early for no reason: callers look again.
inline void FutexWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t until_ns, uint32_t lanes = kAnyLane) {
  const timespec until{static_cast<time_t>(until_ns / 1'000'000'000), static_cast<long>(until_ns % 1'000'000'000)};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAIT_BITSET, expected,
          until_ns == kForever ? nullptr : &until, nullptr, lanes);
}

inline void FutexWake(std::atomic<uint32_t>* word, int count, uint32_t lanes = kAnyLane) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(word), FUTEX_WAKE_BITSET, count, nullptr, nullptr, lanes);
}

inline void FutexWakeAll(std::atomic<uint32_t>* word) { FutexWake(word, INT_MAX); }

}  // namespace corelane
