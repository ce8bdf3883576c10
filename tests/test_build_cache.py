"""What the cache has is made again when anything changes that goes into it."""

from pathlib import Path

import pytest

from tests.support import build_cache


def test_the_digest_knows_names_contents_and_words(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("1")
    other.write_text("1")
    digests = [
        build_cache.digest([file], ["-O1"]),
        build_cache.digest([file], ["-O2"]),
        build_cache.digest([other], ["-O1"]),
    ]
    assert build_cache.digest([file], ["-O1"]) == digests[0]
    file.write_text("2")
    assert len({*digests, build_cache.digest([file], ["-O1"])}) == 4


def test_made_once_for_a_key(tmp_path: Path) -> None:
    made: list[str] = []

    def copied(key: str, target: str) -> str:
        def make(folder: Path) -> None:
            made.append(key)
            (folder / "file").write_text(key)

        build_cache.fill(tmp_path / target, "things", key, make, tmp_path / "cache")
        return (tmp_path / target / "file").read_text()

    assert [copied("k1", "1"), copied("k1", "2"), copied("k2", "3"), copied("k2", "4")] == ["k1", "k1", "k2", "k2"]
    assert made == ["k1", "k2"]
    (tmp_path / "4/file").write_text("spoilt by a test")
    assert copied("k2", "5") == "k2"
    assert [folder.name for folder in (tmp_path / "cache/things").iterdir()] == ["k2"]


def test_a_failure_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        build_cache.fill(tmp_path / "1", "things", "k", fail, tmp_path / "cache")
    build_cache.fill(tmp_path / "2", "things", "k", lambda folder: (folder / "whole").touch(), tmp_path / "cache")
    assert [file.name for file in (tmp_path / "2").iterdir()] == ["whole"]


def test_without_a_cache(tmp_path: Path) -> None:
    build_cache.fill(tmp_path / "1", "things", "k", lambda folder: (folder / "file").touch(), None)
    assert [file.name for file in (tmp_path / "1").iterdir()] == ["file"]
