// Memory that a process holds and does not need.
#pragma once

#include <cstddef>
#include <cstdint>

namespace corelane {

// Notices that runs have become much smaller, so that what the large ones took may go.
//
// Thread safety: none; one session's, or under its owner's lock.
class OutsizedRuns {
 public:
  // A run with tensors of so many bytes has ended. True if memory is to be given back: the largest run since the last time was
  // of kLargeBytes at least, and kSmallRuns after it took less than a quarter of it each.
  bool Ran(uint64_t bytes);

 private:
  static constexpr uint64_t kLargeBytes = 4 << 20;
  static constexpr int kSmallRuns = 16;

  uint64_t largest_ = 0;
  int small_runs_ = 0;
};

// Gives pages that the allocator keeps free back to the system: glibc's, and oneTBB's where it is in the process. Takes
// milliseconds, while allocations of other threads may wait.
void GiveBackHeap();

// Whether a run with tensors of so many bytes may have failed because the process's limit (RLIMIT_DATA) left it too little: a
// quarter of it, or 32 times the tensors. OpenVINO throws the same for that as for values that it refuses.
bool IsMemoryShort(uint64_t bytes);

}  // namespace corelane
