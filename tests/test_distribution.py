"""How the tests are spread over processes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import distribution

ROOT = Path(__file__).parents[1]


def test_files_that_are_named_are_there() -> None:
    files = [*distribution.APART, *distribution.TOGETHER]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert len(files) == len(set(files))


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (4, 4), (6, 6), (64, 6)])
def test_processes(cores: int, expected: int) -> None:
    assert distribution.processes(cores) == expected


@pytest.fixture(scope="module")
def server() -> int:
    return 1


def test_long_tests_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distribution, "APART", ())
    monkeypatch.setattr(distribution, "TOGETHER", ("c.py", "b.py"))
    items: list[Any] = [SimpleNamespace(nodeid=name) for name in ("a.py::1", "b.py::1", "c.py::1", "c.py::2")]
    distribution.sort(items)
    assert [item.nodeid for item in items] == ["c.py::1", "c.py::2", "b.py::1", "a.py::1"]


def test_tests_that_share_are_not_set_apart(
    server: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distribution, "APART", ("tests/test_distribution.py",))
    with pytest.raises(pytest.UsageError, match=r"test_tests_that_share_are_not_set_apart shares server: its file"):
        distribution.sort([request.node])
