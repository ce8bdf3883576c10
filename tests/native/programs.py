"""The native test programs: what each is made of, and building one. `make sanitize` runs them all for longer:
`python -m tests.native.programs`."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path("processor/native")
_HERE = Path("tests/native")
SOURCES = [
    path
    for folder in (NATIVE, Path("kernels/native"), _HERE)
    for path in folder.rglob("*")
    if path.suffix in {".cc", ".h", ".py"}
]
_CORPUS = _HERE / "corpus"  # what the fuzzer found to reach new code, as small as it goes
_FOUND = tuple(sorted(str(file) for file in _CORPUS.iterdir()))
_CODEC = ("codec/tensor_codec", "codec/model_spec", "codec/predict_codec", "codec/infer_codec", "engines/signature")
_KERNELS = tuple(
    f"../../kernels/native/{part}"
    for part in (
        *("program", "program_strings", "program_lookups", "example", "fingerprint", "siphash", "id_map"),
        *("pooling", "pooling_scalar", "pooling_avx2", "pooling_avx512", "instruction_sets"),
    )
)
_GATE = ("sessions/pool_gate",)
_CHANNEL = (
    *("channel/shared_channel", "channel/gateway_end", "channel/worker_end", "channel/histogram"),
    *("sessions/session_group", *_GATE),
)
_FUZZ_S = 300
_ADDRESS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_THREAD = ("-fsanitize=thread",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    source: str
    parts: tuple[str, ...]
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()  # in the tests
    long_arguments: tuple[str, ...] = ()  # in `make sanitize`


PROGRAMS = {
    "codec under ASan and UBSan": Program(
        source="fuzz_codec",
        parts=_CODEC,
        flags=(*_ADDRESS, "-DCORELANE_FUZZ_MAIN"),
        arguments=("300", *_FOUND),
        long_arguments=("20000", *_FOUND),
    ),
    "programs of features under ASan and UBSan": Program(
        source="fuzz_program",
        parts=_KERNELS,
        flags=(*_ADDRESS, "-Ikernels/native"),
        arguments=("2000",),
        long_arguments=("300000",),
    ),
    "channel under ASan and UBSan": Program(
        source="channel_threads", parts=_CHANNEL, flags=_ADDRESS, arguments=("1000",), long_arguments=("50000",)
    ),
    "channel under TSan": Program(
        source="channel_threads", parts=_CHANNEL, flags=_THREAD, arguments=("300",), long_arguments=("10000",)
    ),
    "pool's gate under ASan and UBSan": Program(
        source="pool_gate", parts=_GATE, flags=_ADDRESS, arguments=("1000",), long_arguments=("20000",)
    ),
    "pool's gate under TSan": Program(
        source="pool_gate", parts=_GATE, flags=_THREAD, arguments=("1000",), long_arguments=("20000",)
    ),
    "pool's gate under kills": Program(
        source="pool_gate", parts=_GATE, arguments=("1000", "500"), long_arguments=("5000", "20000")
    ),
    "channel under kills": Program(
        source="channel_kills",
        parts=_CHANNEL,
        flags=("-include", str(_HERE / "step.h")),
        arguments=("3000", "1"),
        long_arguments=("30000", "2"),
    ),
}


def build(program: Program, folder: Path) -> Path:
    target = folder / program.source
    sources = [str(_HERE / f"{program.source}.cc"), *(str(NATIVE / f"{part}.cc") for part in program.parts)]
    flags = ["-std=c++17", "-O1", "-g", "-pthread", *program.flags, f"-I{NATIVE}", f"-I{_HERE}"]
    subprocess.run(["g++", *flags, *sources, "-o", str(target)], check=True)
    return target


def execute(program: Path, arguments: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, timeout=3600)


def fuzz(folder: Path, seconds: int) -> bool:
    """Looks for inputs that break the codec, guided by coverage. False if there is one."""
    target = folder / "fuzzer"
    sources = [str(_HERE / "fuzz_codec.cc"), *(str(NATIVE / f"{part}.cc") for part in _CODEC)]
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["clang++", *flags, f"-I{NATIVE}", f"-I{_HERE}", *sources, "-o", str(target)], check=True)
    (folder / "found").mkdir()
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    command = [str(target), *limits, str(folder / "found"), str(_CORPUS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    print("\n".join(result.stderr.splitlines()[-12:]))
    return result.returncode == 0


def main() -> None:
    failed = 0
    if shutil.which("clang++"):
        print(f"codec under a coverage-guided fuzzer, {_FUZZ_S} s ...", flush=True)
        with tempfile.TemporaryDirectory() as temporary:
            failed += not fuzz(Path(temporary), _FUZZ_S)
    else:
        print("no clang++: the coverage-guided fuzzer is left out")
    for name, program in PROGRAMS.items():
        print(f"{name} ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            result = execute(build(program, Path(folder)), program.long_arguments)
        print(result.stdout + result.stderr, end="")
        failed += result.returncode != 0
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
