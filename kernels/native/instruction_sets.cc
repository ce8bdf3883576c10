#include "instruction_sets.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace corelane {

#if defined(__x86_64__)
namespace {

// XCR0: which register states the operating system saves.
uint64_t SavedStates() {
  uint32_t eax, edx;
  __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
  return (static_cast<uint64_t>(edx) << 32) | eax;
}

bool Bit(uint32_t word, int index) { return (word >> index) & 1; }

}  // namespace

std::vector<std::string> InstructionSets() {
  std::vector<std::string> names;
  uint32_t eax, ebx, ecx, edx;
  if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !Bit(ecx, 27)) return names;  // no OSXSAVE, no vectors
  const uint64_t states = SavedStates();
  const bool avx = (states & 0x6) == 0x6;
  const bool avx512 = avx && (states & 0xe0) == 0xe0;
  const bool amx = (states & 0x60000) == 0x60000;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return names;
  const uint32_t subleaves = eax, ebx7 = ebx, ecx7 = ecx, edx7 = edx;
  uint32_t eax71 = 0, edx71 = 0;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) eax71 = eax, edx71 = edx;
  const struct {
    const char* name;
    bool is_usable;
  } sets[] = {
      {"avx2", avx && Bit(ebx7, 5)},
      {"avx_vnni", avx && Bit(eax71, 4)},
      {"avx_vnni_int8", avx && Bit(edx71, 4)},
      {"avx_ne_convert", avx && Bit(edx71, 5)},
      {"avx512f", avx512 && Bit(ebx7, 16)},
      {"avx512bw", avx512 && Bit(ebx7, 30)},
      {"avx512dq", avx512 && Bit(ebx7, 17)},
      {"avx512vl", avx512 && Bit(ebx7, 31)},
      {"avx512_vnni", avx512 && Bit(ecx7, 11)},
      {"avx512_bf16", avx512 && Bit(eax71, 5)},
      {"avx512_fp16", avx512 && Bit(edx7, 23)},
      {"amx_tile", amx && Bit(edx7, 24)},
      {"amx_bf16", amx && Bit(edx7, 22)},
      {"amx_int8", amx && Bit(edx7, 25)},
      {"amx_fp16", amx && Bit(eax71, 21)},
  };
  for (const auto& set : sets) {
    if (set.is_usable) names.push_back(set.name);
  }
  return names;
}

#else

std::vector<std::string> InstructionSets() { return {}; }

#endif

}  // namespace corelane
