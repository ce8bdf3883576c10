#include "engines/memory.h"

#include <dlfcn.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

namespace corelane {
namespace {

constexpr int kCleanAllBuffers = 0;  // oneTBB's TBBMALLOC_CLEAN_ALL_BUFFERS

// Private, writable memory of the process, which RLIMIT_DATA counts; 0 if the system does not say.
uint64_t DataBytes() {
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return 0;
  char line[256];
  unsigned long long kibibytes = 0;
  while (std::fgets(line, sizeof(line), status) != nullptr) {
    if (std::sscanf(line, "VmData: %llu kB", &kibibytes) == 1) break;
  }
  std::fclose(status);
  return kibibytes << 10;
}

}  // namespace

bool OutsizedRuns::Ran(uint64_t bytes) {
  if (bytes > largest_) largest_ = bytes;
  if (largest_ < kLargeBytes) return false;
  if (bytes >= largest_ / 4) {
    small_runs_ = 0;
    return false;
  }
  if (++small_runs_ < kSmallRuns) return false;
  largest_ = 0;
  small_runs_ = 0;
  return true;
}

void GiveBackHeap() {
  using Command = int (*)(int, void*);
  static const Command command = reinterpret_cast<Command>(dlsym(RTLD_DEFAULT, "scalable_allocation_command"));
  if (command != nullptr) command(kCleanAllBuffers, nullptr);
  malloc_trim(0);
}

bool IsMemoryShort(uint64_t bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
  const uint64_t taken = DataBytes();
  const uint64_t room = taken < limit.rlim_cur ? limit.rlim_cur - taken : 0;
  return room < std::max<uint64_t>(limit.rlim_cur / 4, 32 * bytes);
}

}  // namespace corelane
