"""The native module against what the kernel says of the processor."""

from pathlib import Path

from corelane.kernels import instruction_sets


def test_as_the_kernel_sees_it() -> None:
    flags = set()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":")[1].split())
            break
    # The kernel lists neither avx_vnni_int8 and avx_ne_convert nor amx_fp16 everywhere.
    known = ["avx2", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16"]
    known += ["avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"]
    assert [name for name in instruction_sets() if name in known] == [name for name in known if name in flags]
