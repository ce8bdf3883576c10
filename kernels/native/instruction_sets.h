// Which vector instruction sets the kernels may use on this processor.
#pragma once

#include <string>
#include <vector>

namespace corelane {

// Names of the sets that both the processor and the operating system support, in the order of their age:
// avx2, avx512f, avx512_vnni, avx512_bf16, amx_tile, amx_bf16, amx_int8. Empty on other architectures.
//
// Thread safety: pure.
std::vector<std::string> InstructionSets();

}  // namespace corelane
