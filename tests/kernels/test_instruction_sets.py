"""The native module against what the kernel says of the processor."""

from pathlib import Path

from kernels import instruction_sets


def test_as_the_kernel_sees_it() -> None:
    flags = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":")[1].split())
            break
    known = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"]
    assert instruction_sets() == [name for name in known if name in flags]
