"""Version folders: which are seen, and when one counts as complete."""

import os
from pathlib import Path

import pytest

from processor.manifest import VersionPolicy, VersionSettings
from processor.supervisor.folders import FolderWatch

LATEST = VersionPolicy()
ALL = VersionPolicy(kind="all")


class Clock:
    """Wall and monotonic time that move by hand; the wall starts long after any file was made."""

    def __init__(self) -> None:
        self.s = 0.0

    def wall(self) -> float:
        return 4e9 + self.s

    def monotonic(self) -> float:
        return self.s


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def watch(path: Path, clock: Clock | None = None, fresh: bool = False) -> FolderWatch:
    """A watch to which files are old, or `fresh`: made this moment and later."""
    clock = clock or Clock()
    return FolderWatch(path, 2.0, (lambda: 0.0) if fresh else clock.wall, clock.monotonic)


def seen(path: Path, policy: VersionPolicy = ALL) -> dict[int, str | None]:
    return {folder.version: folder.waiting_for for folder in watch(path).look(policy).versions}


def test_numbered_folders_only(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx", "0020/model.onnx", "latest/model.onnx", "-3/model.onnx", "5", "٣/model.onnx")
    assert seen(tmp_path) == {1: None, 20: None}


def test_two_folders_of_one_number(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx", "001/model.onnx", "01/model.onnx", "002/model.onnx", "7/model.onnx", "0007")
    found = watch(tmp_path).look(ALL)
    assert {folder.version: folder.path.name for folder in found.versions} == {1: "1", 2: "002", 7: "7"}
    assert found.problem is None
    assert found.warnings() == (
        f"{tmp_path} has version 1 twice: 1 is served, 01 is not; remove or rename one",
        f"{tmp_path} has version 1 twice: 1 is served, 001 is not; remove or rename one",
    )
    assert watch(tmp_path / "none").look(ALL).warnings() == (f"{tmp_path / 'none'} does not exist",)


def test_a_path_that_is_a_url() -> None:
    found = watch(Path("s3://bucket/models")).look(ALL)
    assert found.problem is not None
    assert found.problem.startswith("s3://bucket/models is not on this host; only its file system is read")


def test_policies(tmp_path: Path) -> None:
    make(tmp_path, *(f"{version}/model.onnx" for version in range(1, 6)))
    assert set(seen(tmp_path, LATEST)) == {5}
    assert set(seen(tmp_path, VersionPolicy(latest=2))) == {4, 5}
    listed = (VersionSettings(version=2), VersionSettings(version=9))
    assert set(seen(tmp_path, VersionPolicy(kind="listed", listed=listed))) == {2}


def test_an_unfinished_latest_version_does_not_hide_the_one_before(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx", "2/model.onnx.part")
    assert seen(tmp_path, LATEST) == {1: None, 2: "model.onnx.part is a partial copy"}


@pytest.mark.parametrize(
    ("names", "waiting_for"),
    [
        ((), "the folder is empty"),
        (("model.onnx",), None),
        (("model.onnx.tmp",), "model.onnx.tmp is a partial copy"),
        ((".model.onnx.Xa81kQ",), ".model.onnx.Xa81kQ is a partial copy"),
        ((".DS_Store", "model.onnx"), None),
        (("saved_model.pb", "variables/variables.index"), "variables/variables.data-* is missing"),
        (
            ("saved_model.pb", "variables/variables.data-00000-of-00001"),
            "variables/variables.index is missing",
        ),
        (
            ("variables/variables.index", "variables/variables.data-00000-of-00002"),
            "variables/variables.data-00001-of-00002 is missing",
        ),
        (
            (
                "variables/variables.index",
                "variables/variables.data-00000-of-00002",
                "variables/variables.data-00001-of-00002",
            ),
            None,
        ),
    ],
)
def test_missing_pieces(tmp_path: Path, names: tuple[str, ...], waiting_for: str | None) -> None:
    (tmp_path / "1").mkdir()
    make(tmp_path / "1", *names)
    assert seen(tmp_path) == {1: waiting_for}


def test_a_folder_must_stand_still(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx")
    clock = Clock()
    look = watch(tmp_path, clock, fresh=True).look
    waits = []
    for step in range(6):
        if step == 2:
            (tmp_path / "1/model.onnx").write_text("longer")
        waits.append(look(ALL).versions[0].waiting_for)
        clock.s += 1
    assert waits == ["still being written"] * 4 + [None] * 2


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx")
    looking = watch(tmp_path)
    prints = [looking.look(ALL).versions[0].fingerprint]
    (tmp_path / "1/model.onnx").write_text("longer")
    prints.append(looking.look(ALL).versions[0].fingerprint)
    make(tmp_path, "1/extra")
    prints.append(looking.look(ALL).versions[0].fingerprint)
    os.utime(tmp_path / "1/extra", (1, 1))
    prints.append(looking.look(ALL).versions[0].fingerprint)
    assert len(set(prints)) == 4
    assert looking.look(ALL).versions[0].fingerprint == prints[-1]


def test_problems_of_the_path(tmp_path: Path) -> None:
    assert watch(tmp_path / "none").look(ALL).problem == f"{tmp_path}/none does not exist"
    make(tmp_path, "file", "words/a/model.onnx")
    assert watch(tmp_path / "file").look(ALL).problem == f"{tmp_path}/file is not a folder"
    assert str(watch(tmp_path / "words").look(ALL).problem).startswith(f"{tmp_path}/words has no version folder")


def test_a_dangling_link_inside_a_version_is_told(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx")
    (tmp_path / "1/weights").symlink_to(tmp_path / "gone")
    assert seen(tmp_path) == {1: f"{tmp_path}/1/weights cannot be read: No such file or directory"}
