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
  uint32_t eax71 = 0;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx)) eax71 = eax;
  if (avx && Bit(ebx7, 5)) names.push_back("avx2");
  if (avx512 && Bit(ebx7, 16)) names.push_back("avx512f");
  if (avx512 && Bit(ecx7, 11)) names.push_back("avx512_vnni");
  if (avx512 && Bit(eax71, 5)) names.push_back("avx512_bf16");
  if (amx && Bit(edx7, 24)) names.push_back("amx_tile");
  if (amx && Bit(edx7, 22)) names.push_back("amx_bf16");
  if (amx && Bit(edx7, 25)) names.push_back("amx_int8");
  return names;
}

#else

std::vector<std::string> InstructionSets() { return {}; }

#endif

}  // namespace corelane
