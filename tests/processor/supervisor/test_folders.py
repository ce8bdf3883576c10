"""Version folders: which are seen, and when one counts as complete."""

import errno
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from corelane.processor.manifest import VersionPolicy, VersionSettings
from corelane.processor.supervisor.files.folders import FolderWatch, VersionFolder
from corelane.processor.wire import messages

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


def seen(path: Path, policy: VersionPolicy = ALL, fresh: bool = False) -> dict[int, str | None]:
    return {folder.version: folder.waiting_for for folder in watch(path, fresh=fresh).look(policy).versions}


def looks(looking: FolderWatch, clock: Clock, seconds: int) -> list[VersionFolder]:
    """What is seen of the only version, second after second."""
    found = []
    for _ in range(seconds):
        found.extend(looking.look(ALL).versions)
        clock.s += 1
    return found


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


def test_numbers_that_no_version_has_hide_none(tmp_path: Path) -> None:
    largest = 2**63 - 1
    names = ("3", str(largest), f"000{largest}", str(largest + 1), "9" * 40, "+4", "1_0", "²", "４")
    make(tmp_path, *(f"{name}/model.onnx" for name in names))
    found = watch(tmp_path).look(ALL)
    assert [folder.version for folder in found.versions] == [largest, 3]
    assert sorted(found.warnings()) == sorted(
        (
            f"{tmp_path} has version {largest} twice: {largest} is served, 000{largest} is not; remove or rename one",
            f"{tmp_path}/{largest + 1} is not served: a version is {largest} at most; rename it",
            f"{tmp_path}/{'9' * 40} is not served: a version is {largest} at most; rename it",
        )
    )


def test_policies(tmp_path: Path) -> None:
    make(tmp_path, *(f"{version}/model.onnx" for version in range(1, 6)))
    assert set(seen(tmp_path, LATEST)) == {5}
    assert set(seen(tmp_path, VersionPolicy(latest=2))) == {4, 5}
    listed = (VersionSettings(version=2), VersionSettings(version=9))
    assert set(seen(tmp_path, VersionPolicy(kind="listed", listed=listed))) == {2}


def test_an_unfinished_latest_version_does_not_hide_the_one_before(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx", "2/model.onnx.part")
    waiting = {1: "still being written", 2: "model.onnx.part is a partial copy"}
    assert seen(tmp_path, LATEST, fresh=True) == waiting
    assert seen(tmp_path, LATEST) == {1: None, 2: None}  # it may not load


@pytest.mark.parametrize(
    ("names", "waiting_for"),
    [
        ((), "the folder is empty"),
        (("model.onnx",), None),
        ((".DS_Store", "model.onnx"), None),
        ((".DS_Store", "._model.onnx", ".nfs00000001a3"), "the folder is empty"),
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


@pytest.mark.parametrize(
    ("name", "is_partial"),
    [
        ("model.onnx.tmp", True),
        (".model.onnx.Xa81kQ", True),
        (".model.sha256", True),
        ("notes.partial", True),
        ("template", False),
        ("._m.Xa81kQ", False),
    ],
)
def test_what_is_named_like_a_part_of_a_copy_is_waited_for_and_then_taken_as_it_is(
    tmp_path: Path, name: str, is_partial: bool
) -> None:
    make(tmp_path / "1", "model.onnx", name)
    clock = Clock()
    looking = watch(tmp_path, clock, fresh=True)
    found = looks(looking, clock, 31)
    expected = f"{name} is a partial copy" if is_partial else "still being written"
    assert [folder.waiting_for for folder in found] == [expected] * (30 if is_partial else 2) + [None] * (
        1 if is_partial else 29
    )
    assert [folder.is_coming for folder in found] == [folder.waiting_for is not None for folder in found]
    doubt = f"{tmp_path}/1: {name} is a partial copy; nothing has changed for 30 s, so it is loaded as it is"
    assert looking.look(ALL).warnings() == ((doubt,) if is_partial else ())
    make(tmp_path / "1", "another")  # a change begins it anew
    assert looking.look(ALL).versions[0].waiting_for == expected


def test_a_promised_piece_is_waited_for_without_end(tmp_path: Path) -> None:
    make(tmp_path, "1/weights.data-00000-of-00002")
    clock = Clock()
    found = looks(watch(tmp_path, clock, fresh=True), clock, 100)
    assert {folder.waiting_for for folder in found} == {"weights.data-00001-of-00002 is missing"}
    assert [folder.is_coming for folder in found] == [True] * 30 + [False] * 70


@pytest.mark.parametrize("name", ["tf2", "tf1", "ref", "table", "types"])
def test_a_graph_says_that_its_variables_are_missing(tmp_path: Path, tensorflow_models: Path, name: str) -> None:
    """The values of `table` are no variables; `types` has none at all, and cannot be told from it."""
    shutil.copytree(tensorflow_models / name, tmp_path, dirs_exist_ok=True)
    assert seen(tmp_path) == {1: None}
    (tmp_path / "1/variables").rename(tmp_path / "variables")
    clock = Clock()
    looking = watch(tmp_path, clock, fresh=True)
    waits = [folder.waiting_for for folder in looks(looking, clock, 31)]
    assert waits == ["variables/ is missing: saved_model.pb has variables"] * 30 + [None]
    (tmp_path / "variables").rename(tmp_path / "1/variables")
    assert [folder.waiting_for for folder in looks(looking, clock, 3)] == ["still being written"] * 2 + [None]
    assert looking.look(ALL).warnings() == ()


def test_a_graph_without_variables_is_complete_without_them(tmp_path: Path) -> None:
    graph = messages.GraphDef()
    graph.node.add(name="RestoreV2", op="Placeholder")

    def write() -> None:
        saved = messages.SavedModel()
        saved.meta_graphs.add().graph_def = graph.SerializeToString()
        (tmp_path / "1").mkdir(exist_ok=True)
        (tmp_path / "1/saved_model.pb").write_bytes(saved.SerializeToString())

    write()
    assert seen(tmp_path) == {1: None}
    before = len(graph.SerializeToString())
    graph.node.add(name="x" * ((1 << 20) - before - 21), op="VariableV2")  # across two reads
    write()
    written = (tmp_path / "1/saved_model.pb").read_bytes()
    assert b"VariableV2" in written
    assert b"VariableV2" not in written[: 1 << 20]
    assert b"VariableV2" not in written[1 << 20 :]
    assert seen(tmp_path, fresh=True) == {1: "variables/ is missing: saved_model.pb has variables"}
    (tmp_path / "1/saved_model.pb").rename(tmp_path / "1/saved_model.pbtxt")
    (tmp_path / "1/saved_model.pbtxt").write_text('node { name: "VarHandleOp" op: "NoOp" }')
    assert seen(tmp_path, fresh=True) == {1: "still being written"}
    (tmp_path / "1/saved_model.pbtxt").write_text('node { name: "a" op: "VarHandleOp" }')
    assert seen(tmp_path, fresh=True) == {1: "variables/ is missing: saved_model.pb has variables"}


def test_old_times_make_nothing_complete_that_came_while_we_looked(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx")
    clock = Clock()
    looking = watch(tmp_path, clock)
    assert looking.look(ALL).versions[0].waiting_for is None
    make(tmp_path, "2/model.onnx")
    assert [folder.waiting_for for folder in looks(looking, clock, 3)[0::2]] == ["still being written"] * 2 + [None]


def test_what_was_complete_at_the_first_look_stays_so(tmp_path: Path) -> None:
    """Or its load would be stopped at the second look, and begin again when it has stood still once more."""
    make(tmp_path, "1/model.onnx", "2/model.onnx", "2/model.onnx.tmp")
    clock = Clock()
    looking = watch(tmp_path, clock)
    for _ in range(5):
        assert [folder.waiting_for for folder in looking.look(ALL).versions] == [None, None]
        clock.s += 0.5


def test_what_was_there_before_is_complete_whenever_it_is_looked_into(tmp_path: Path) -> None:
    """Of the latest versions only as many are looked into as are to be served."""
    make(tmp_path, "1/model.onnx", "2/model.onnx")
    clock = Clock()
    looking = watch(tmp_path, clock)
    assert [folder.version for folder in looking.look(LATEST).versions] == [2]
    (tmp_path / "2/model.onnx").write_text("written to")
    assert [(folder.version, folder.waiting_for) for folder in looking.look(LATEST).versions] == [
        (2, "still being written"),
        (1, None),
    ]
    empty = watch(tmp_path / "later", clock)
    (tmp_path / "later").mkdir()
    assert empty.look(ALL).problem
    make(tmp_path, "later/1/model.onnx")
    assert empty.look(ALL).versions[0].waiting_for == "still being written", "it was not there before"


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
    assert len(set(prints)) == 3
    os.utime(tmp_path / "1/extra", (1, 1))
    (tmp_path / "1/.DS_Store").write_text("desktop")
    assert looking.look(ALL).versions[0].fingerprint == prints[-1]  # the same content


def test_the_fingerprint_changes_with_a_library_that_versions_are_loaded_with(tmp_path: Path) -> None:
    make(tmp_path, "models/1/model.onnx", "ops.so")
    library = tmp_path / "ops.so"
    clock = Clock()
    looking = watch(tmp_path / "models", clock)

    def look() -> VersionFolder:
        return looking.look(ALL, [library]).versions[0]

    before = look()
    assert before.fingerprint == look().fingerprint
    library.write_text("another")
    after = look()
    assert after.fingerprint != before.fingerprint and after.waiting_for == "still being written"
    clock.s += 3
    assert look().waiting_for is None
    library.unlink()
    assert look().waiting_for == f"{library} cannot be read: No such file or directory"


def test_problems_of_the_path(tmp_path: Path) -> None:
    assert watch(tmp_path / "none").look(ALL).problem == f"{tmp_path}/none does not exist"
    make(tmp_path, "file", "words/a/model.onnx")
    assert watch(tmp_path / "file").look(ALL).problem == f"{tmp_path}/file is not a folder"
    assert str(watch(tmp_path / "words").look(ALL).problem).startswith(f"{tmp_path}/words has no version folder")


def test_a_dangling_link_inside_a_version_is_told(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx")
    (tmp_path / "1/weights").symlink_to(tmp_path / "gone")
    assert seen(tmp_path) == {1: f"{tmp_path}/1/weights cannot be read: No such file or directory"}


def test_links_that_lead_nowhere_are_their_own_versions_trouble(tmp_path: Path) -> None:
    """To themselves, in a circle, or to a name that no file system takes: the other versions are served."""
    make(tmp_path, "1/model.onnx", "2/model.onnx", "3/model.onnx", "8/model.onnx", "file")
    (tmp_path / "2/loop").symlink_to("loop")
    (tmp_path / "3/left").symlink_to("right")
    (tmp_path / "3/right").symlink_to("left")
    (tmp_path / "5").symlink_to("5")
    (tmp_path / "6").symlink_to("gone")
    (tmp_path / "7").symlink_to("x" * 300)
    (tmp_path / "9").symlink_to("file")
    look = watch(tmp_path).look(ALL)
    assert look.problem is None
    assert {found.version: found.waiting_for for found in look.versions} == {
        1: None,
        2: f"{tmp_path}/2/loop cannot be read: No such file or directory",
        3: f"{tmp_path}/3/left cannot be read: No such file or directory",
        8: None,
    }
    assert sorted(look.duplicates) == [
        f"{tmp_path}/5 is not served: too many levels of symbolic links",
        f"{tmp_path}/6 is not served: it is a link to no folder",
        f"{tmp_path}/7 is not served: file name too long",
        f"{tmp_path}/9 is not served: it is a link to no folder",
    ]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_we_lack_for_the_moment_says_nothing_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    make(tmp_path, "1/model.onnx")

    def odd(path: Path) -> Any:
        raise OSError(number, os.strerror(number))

    looking = watch(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", odd)
        with pytest.raises(OSError, match=os.strerror(number)):
            looking.look(ALL)
    with pytest.raises(OSError, match=os.strerror(number)):
        FolderWatch(tmp_path, 1.0, time.time, time.monotonic, stat=odd).look(ALL)


def test_a_version_that_cannot_be_looked_at_for_any_reason_is_that_versions_trouble(tmp_path: Path) -> None:
    make(tmp_path, "1/model.onnx", "2/model.onnx")

    def odd(path: Path) -> os.stat_result:
        if "2" in path.parts:
            raise RuntimeError("out of luck")
        return os.stat(path)

    looking = FolderWatch(tmp_path, 1.0, time.time, time.monotonic, stat=odd)
    found = {version.version: version.waiting_for for version in looking.look(ALL).versions}
    assert found[2] == f"{tmp_path}/2 cannot be looked at: out of luck"
    assert "looked at" not in str(found[1])
