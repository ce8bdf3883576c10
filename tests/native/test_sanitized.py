"""The native codec and channel under sanitizers, and the channel while its processes are killed."""

from pathlib import Path

import pytest

from tests.native.programs import PROGRAMS, run


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]
    result = run(program, tmp_path, program.arguments)
    assert result.returncode == 0, result.stdout + result.stderr
