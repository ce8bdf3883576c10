"""The native codec under AddressSanitizer and UndefinedBehaviorSanitizer, on mutated requests."""

import subprocess
from pathlib import Path

NATIVE = Path("processor/native")


def test_the_codec_stays_within_its_bounds(tmp_path: Path) -> None:
    program = tmp_path / "fuzz_codec"
    sources = ["tests/native/fuzz_codec.cc", str(NATIVE / "tensor_codec.cc"), str(NATIVE / "model_spec.cc")]
    flags = ["-std=c++17", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["g++", *flags, "-DCORELANE_FUZZ_MAIN", f"-I{NATIVE}", *sources, "-o", str(program)], check=True)
    result = subprocess.run([program, "300"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
