"""The native codec and channel under sanitizers, and the channel while its processes are killed."""

import subprocess
from pathlib import Path

import pytest

from tests.native.programs import PROGRAMS, SOURCES, build, execute
from tests.support import build_cache


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, tmp_path: Path, cache_folder: Path | None) -> None:
    program, built = PROGRAMS[name], tmp_path / "built"
    compiler = subprocess.check_output(["g++", "--version"], text=True)
    key = build_cache.digest(SOURCES, [compiler, repr(program)])
    build_cache.fill(built, f"native {name}", key, lambda folder: build(program, folder), cache_folder)
    result = execute(built / program.source, program.arguments)
    assert result.returncode == 0, result.stdout + result.stderr
