"""Which instruction set oneDNN takes, the library that multiplies matrices for TensorFlow and OpenVINO."""

import os
from collections.abc import Collection, Mapping

from corelane.kernels import instruction_sets

# From the weakest to the strongest: oneDNN's name, and what a processor must have besides all above it on its branch.
_AVX2 = (("avx2", {"avx2"}), ("avx2_vnni", {"avx_vnni"}), ("avx2_vnni_2", {"avx_vnni_int8", "avx_ne_convert"}))
_AVX512 = (
    ("avx512_core", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
    ("avx512_core_vnni", {"avx512_vnni"}),
    ("avx512_core_bf16", {"avx512_bf16"}),
    ("avx512_core_fp16", {"avx512_fp16", "avx_vnni"}),
    ("avx512_core_amx", {"amx_tile", "amx_bf16", "amx_int8"}),
    ("avx512_core_amx_fp16", {"amx_fp16"}),
)
_ORDER = tuple(name for name, _ in (*_AVX2, *_AVX512))
_FIRST_WITH_BF16 = "avx512_core_bf16"


def best_isa(sets: Collection[str] | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The best that oneDNN takes on this processor, by its own name ("avx512_core_amx"), or "none".

    `ONEDNN_MAX_CPU_ISA` lowers it, as it does in oneDNN. Source: oneDNN's developer guide, CPU dispatcher control."""
    have = set(instruction_sets() if sets is None else sets)
    limit = environment.get("ONEDNN_MAX_CPU_ISA", "").lower()
    allowed = _ORDER[: _ORDER.index(limit) + 1] if limit in _ORDER else _ORDER
    best = "none"
    for branch in (_AVX2, _AVX512):
        for name, needed in branch:
            if not needed <= have or name not in allowed:
                break
            best = name
    return best


def has_bf16(isa: str) -> bool:
    """Whether a processor with this instruction set multiplies bfloat16 in hardware."""
    return isa in _ORDER and _ORDER.index(isa) >= _ORDER.index(_FIRST_WITH_BF16)
