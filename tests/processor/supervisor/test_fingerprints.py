"""What tells one content of a version's folder from another, on file systems that keep little else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from corelane.processor.loading.content import content_key
from corelane.processor.supervisor.files.fingerprints import WHOLE_BYTES, Fingerprints

LARGE = WHOLE_BYTES * 3


class Mount:
    """A file system whose times and inodes are what `change` makes of the real ones, look after look."""

    def __init__(self, folder: Path, change: Callable[[list[int], int], None] | None = None) -> None:
        self.looks, self.s = 0, 0.0
        self._change = change
        self._folder = folder
        self._fingerprints = Fingerprints(lambda: self.s, self._stat)

    def _stat(self, path: Path) -> os.stat_result:
        found = os.stat(path)
        if self._change is None:
            return found
        fields = list(found)
        self._change(fields, self.looks)
        nanoseconds = {"st_mtime_ns": fields[8] * 10**9, "st_ctime_ns": fields[9] * 10**9}
        return os.stat_result(fields, {**nanoseconds, "st_ctime": float(fields[9])})

    def look(self, after_s: float = 1.0) -> str:
        self.looks += 1
        self.s += after_s
        return self._fingerprints.look(self._folder).fingerprint


def moving_inodes(fields: list[int], look: int) -> None:
    fields[1] = look
    fields[9] = look


def moving_times(fields: list[int], look: int) -> None:
    moving_inodes(fields, look)
    fields[8] = look


def times_of_the_epoch(fields: list[int], look: int) -> None:
    fields[7:10] = [0, 0, 0]


def write(file: Path, size: int, byte: bytes = b"a") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(byte * size)
    os.utime(file, (1000, 1000))
    return file


@pytest.mark.parametrize("size", [10, LARGE])
def test_inodes_and_change_times_that_do_not_stand_still_change_nothing(tmp_path: Path, size: int) -> None:
    write(tmp_path / "model.onnx", size)
    mount = Mount(tmp_path, moving_inodes)
    assert len({mount.look() for _ in range(100)}) == 1
    write(tmp_path / "model.onnx", size, b"b")
    before = mount.look()
    assert len({before, *(mount.look() for _ in range(40))}) == 2, "other content is seen, by and by"


def test_modification_times_that_do_not_stand_still_end_to_count(tmp_path: Path) -> None:
    write(tmp_path / "small", 10)
    write(tmp_path / "large", LARGE)
    mount = Mount(tmp_path, moving_times)
    prints = [mount.look() for _ in range(100)]
    assert len(set(prints[:30])) == 30, "it may be written to"
    assert len(set(prints[32:])) == 1
    (tmp_path / "large").write_bytes(b"a" * (LARGE - 1) + b"b")
    assert len({mount.look() for _ in range(70)} - set(prints)) > 0


def test_a_large_file_is_told_by_its_time_too(tmp_path: Path) -> None:
    file = write(tmp_path / "large", LARGE)
    mount = Mount(tmp_path)
    before = mount.look()
    with file.open("r+b") as opened:
        opened.seek(WHOLE_BYTES // 16 + 1)  # between two samples
        opened.write(b"b")
    os.utime(file, (2000, 2000))
    assert mount.look() != before


@pytest.mark.parametrize("size", [10, LARGE])
def test_equal_sizes_and_times_do_not_hide_other_content(tmp_path: Path, size: int) -> None:
    """As of models that were unpacked from archives without times."""
    for name, byte in (("one", b"a"), ("two", b"b")):
        write(tmp_path / name / "variables/variables.index", size, byte)
        write(tmp_path / name / "saved_model.pb", 10)
    link = tmp_path / "link"
    link.symlink_to("one")
    mount = Mount(link, times_of_the_epoch)
    first = mount.look()
    link.unlink()
    link.symlink_to("two")
    second = mount.look()
    link.unlink()
    link.symlink_to("one")
    assert first != second
    assert mount.look() == first, "the same content is the same, wherever it lies"


def test_what_links_lead_to_counts(tmp_path: Path) -> None:
    """Both for what is loaded anew, and for what was compiled of it."""
    write(tmp_path / "data/variables/variables.index", 10)
    folder = tmp_path / "1"
    folder.mkdir()
    (folder / "variables").symlink_to(tmp_path / "data/variables")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    mount = Mount(folder)
    before = mount.look(), content_key(folder)
    assert Fingerprints(lambda: 0.0).look(folder).sizes.keys() == {"variables/variables.index"}, "a pipe holds nothing"
    write(tmp_path / "data/variables/variables.index", 10, b"b")
    after = mount.look(), content_key(folder)
    assert before[0] != after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize("target", ["/", "/proc", "/etc", ".."])
def test_links_out_of_the_version_are_bounded(tmp_path: Path, target: str) -> None:
    """A look at one ends, and reads nothing of the system's."""
    folder = tmp_path / "m/1"
    write(folder / "model.onnx", 10)
    (folder / "link").symlink_to(target)
    assert Fingerprints(lambda: 0.0).look(folder).sizes.keys() <= {"model.onnx"}


def test_one_row_of_a_large_table_is_seen_behind_equal_times_and_samples(tmp_path: Path) -> None:
    """As reproducible builds replace it: another inode, the size and the modification time that were there before."""
    file = write(tmp_path / "1/table", LARGE)
    mount = Mount(tmp_path / "1")
    before = [mount.look() for _ in range(3)]
    other = write(tmp_path / "other", LARGE)
    data = bytearray(other.read_bytes())
    data[WHOLE_BYTES // 16 + 1000] ^= 1  # between two samples
    other.write_bytes(data)
    os.utime(other, (1000, 1000))
    other.replace(file)
    after = [mount.look() for _ in range(3)]
    assert len(set(before)) == len(set(after)) == 1
    assert before[0] != after[0]
    os.chmod(file, 0o640)  # a change time, and nothing else
    assert mount.look() == after[0]
    same = write(tmp_path / "same", LARGE)
    same.write_bytes(data)
    os.utime(same, (1000, 1000))
    same.replace(file)
    assert mount.look() == after[0], "the same bytes by another inode"
