"""The cache is only a cache: with a damaged, full or read-only one versions are served, and the log says what to do."""

import contextlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from corelane.processor.control.routes import LogRoute
from corelane.processor.engines import EngineOptions, load_engine
from corelane.processor.errors import LoadError, StartError
from corelane.processor.gateway.records.request_log import RequestLog
from corelane.processor.knobs import cache_folder
from corelane.processor.loading.content import content_key, readable_content
from corelane.processor.manifest.tensorflow_flags import convert
from corelane.processor.plans import fusing
from corelane.processor.plans.fusing import kept_plan, plan_of
from corelane.processor.plans.store import KEPT, KeptPlan
from corelane.processor.plans.tables import TABLES, TableStore
from corelane.processor.system.cache_files import MAKING, from_checked, scratch_folder, to_checked, write_whole
from corelane.processor.wire.records import read
from tests.processor.gateway.test_request_log import predict_answer, predict_call
from tests.support.client import PlainClient as Client
from tests.support.server import serving, wait_until

INPUTS = {"x": np.array([[b"v1"], [b""]], np.object_), "floats": np.ones((2, 3), np.float32)}
MENDED_BY = "set CORELANE_CACHE to a folder that can be written"


@pytest.fixture(scope="module")
def whole(fused_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the plan of "hash", not to be written."""
    cache = tmp_path_factory.mktemp("whole")
    plan_of(fused_models / "hash/1", cache)
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "cache")
    return tmp_path / "cache"


def cut(path: Path) -> None:
    path.chmod(0o644)
    os.truncate(path, path.stat().st_size // 2)


def change(path: Path) -> None:
    """A bit of one byte: the size stays, and so does the time."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# What is behind the features is OpenVINO's or TensorFlow's, whichever was quicker.
@pytest.mark.parametrize(
    "name",
    [
        *("plan.json", "unserved.json", KEPT, "tables/*"),
        *("dense-0.xml|dense-0/saved_model.pb", "dense-0.bin|dense-0/saved_model.pb"),
    ],
)
@pytest.mark.parametrize("damage", [cut, change, Path.unlink, replace_by_folder, lambda path: path.write_bytes(b"")])
def test_a_damaged_plan_is_none(fused_models: Path, cache: Path, name: str, damage: Callable[[Path], None]) -> None:
    plan = kept_plan(fused_models / "hash/1", cache)
    assert plan is not None
    file = next(file for pattern in name.split("|") for file in plan.glob(pattern))
    file.chmod(0o644)
    damage(file)
    assert kept_plan(fused_models / "hash/1", cache) is None


def test_a_damaged_plan_is_made_anew(fused_models: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the damaged table in the store, too, which the new plan shall not share."""
    folder = fused_models / "hash/1"
    plan = kept_plan(folder, cache)
    assert plan is not None
    change(next((plan / "tables").iterdir()))
    change(next((cache / TABLES).iterdir()))
    assert plan_of(folder, cache)[0] == plan
    assert "is not as it was written" in caplog.text
    assert kept_plan(folder, cache) == plan
    (table,) = (plan / "tables").iterdir()
    assert (cache / TABLES / table.name).samefile(table)
    assert list((cache / MAKING).iterdir()) == []
    original, fused = (load_engine(*one, EngineOptions()) for one in (("tensorflow", folder), ("fused", plan)))
    answers = [
        engine.run(engine.make_session(), engine.signatures()["serving_default"], INPUTS, ["y"])["y"]
        for engine in (original, fused)
    ]
    assert np.allclose(*answers, rtol=1e-5)


def test_a_damaged_table_in_fewer_bits_is_made_anew(fused_models: Path, cache: Path) -> None:
    plan = kept_plan(fused_models / "hash/1", cache)
    assert plan is not None
    store = TableStore(cache / TABLES)
    ((name, first),) = store.converted(plan, "int8").items()
    assert store.converted(plan, "int8") == {name: first}
    data = Path(first).read_bytes()
    for damage in (cut, change):
        damage(Path(first))
        assert store.converted(plan, "int8") == {name: first}
        assert Path(first).read_bytes() == data
    # A plan that somebody brings may say what it likes of its tables.
    shutil.rmtree(cache / TABLES)
    change(next((plan / "tables").iterdir()))
    assert store.converted(plan, "int8") == {}
    (plan / "plan.json").write_text('{"signatures": [{"program": {"tables": [{"file": "../kept", "dimension": 8}]}}]}')
    assert store.converted(plan, "int8") == {}


def test_a_compilation_that_was_quicker_is_taken(cache: Path, tmp_path: Path) -> None:
    kept = KeptPlan(cache, "0" * 32)

    def compiled(out: Path) -> dict[str, object]:
        KeptPlan(cache, kept.key).make(lambda _: {"error": "the other's word"})
        return {"error": "our word"}

    assert kept.make(compiled) == {"error": "the other's word"}
    assert kept.read() == {"error": "the other's word"}


@pytest.mark.parametrize("kind", ["link", "pipe", "table"])
def test_what_a_compilation_leaves_is_not_believed(cache: Path, kind: str) -> None:
    def compiled(out: Path) -> dict[str, object]:
        (out / "tables").mkdir(parents=True)
        (out / "plan.json").write_text("{}")
        if kind == "link":
            (out / "dense-0.xml").symlink_to("/etc/hosts")
        elif kind == "pipe":
            os.mkfifo(out / "dense-0.xml")
        else:
            (out / f"tables/{'0' * 32}.fp32").write_bytes(b"another's")
        return {"reports": []}

    with pytest.raises(LoadError, match="the compilation left"):
        KeptPlan(cache, "0" * 32).make(compiled)
    assert KeptPlan(cache, "0" * 32).read() is None
    assert list((cache / MAKING).iterdir()) == []


def test_what_killed_processes_leave_is_swept(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from corelane.processor.system.cache_files import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as path:\n"
        "    (path / 'file').write_text('x'); print(path, flush=True); time.sleep(600)"
    )
    held = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = []
    for process in held:
        assert process.stdout is not None
        paths.append(Path(process.stdout.readline().strip()))
        os.utime(paths[-1], (0, 0))
    held[0].send_signal(signal.SIGKILL)
    held[0].communicate()
    with scratch_folder(tmp_path) as own:
        assert set(tmp_path.iterdir()) == {own, paths[1]}, "the other one is in use"
    held[1].kill()
    held[1].communicate()


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, to_checked({"a": 1}), mode=0o600)
    assert from_checked(path.read_bytes()) == {"a": 1}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for end in range(len(path.read_bytes()) - 1):
        with pytest.raises(ValueError, match="cut or damaged"):
            from_checked(path.read_bytes()[:end])
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "folder", b"x")
    assert {child.name for child in tmp_path.iterdir()} == {"file", "folder"}


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A mount for root, whom modes do not stop."""
    if os.geteuid() != 0:
        folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in folders:
            path.chmod(0o555)
        yield
        for path in folders:
            path.chmod(0o755)
        return
    with mounted(folder, ["--bind", str(folder)]):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


@contextlib.contextmanager
def mounted(folder: Path, arguments: list[str]) -> Iterator[None]:
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_read_only_cache_serves(fused_models: Path, cache: Path, tmp_path: Path) -> None:
    """A plan that is there; without one TensorFlow, and so with one that is whole, and yet not to be loaded."""
    plan = kept_plan(fused_models / "hash/1", cache)
    assert plan is not None
    outcome = from_checked((plan / KEPT).read_bytes())["outcome"]
    for cost in outcome["costs"]:
        cost["original_ms"] = cost["other_ms"] * 2

    def other_schema(out: Path) -> dict[str, object]:
        out.mkdir()
        (out / "plan.json").write_text('{"schema": 99}')
        return outcome

    fusing._kept(fused_models / "hash_sqrtn/1", cache, (), ("serve",)).make(other_schema)
    manifest = f"models: [{{name: kept, path: {fused_models / 'hash'}, engine: fused}}" + "".join(
        f", {{name: {name}, path: {fused_models / kind}}}"
        for name, kind in (("new", "hash_sum"), ("odd", "hash_sqrtn"))
    )
    with read_only(cache), serving(tmp_path, manifest + "]") as server, Client(server.grpc) as client:
        found = {name: server.wait_state(name, 1, "AVAILABLE") for name in ("kept", "new", "odd")}
        assert [found[name]["engine"] for name in ("kept", "new", "odd")] == ["fused", "tensorflow", "tensorflow"]
        assert "a plan cannot be kept in" in found["new"]["engine_why"]
        assert MENDED_BY in found["new"]["engine_why"]
        assert "its plan cannot be loaded" in found["odd"]["engine_why"]
        assert "fused plan of schema 99" in found["odd"]["engine_why"]
        assert f"plans and profiles cannot be kept in {cache}: " in server.log.read_text()
        for name in found:
            assert client.predict(name, INPUTS)["y"].shape == (2, 4)


def test_a_user_without_a_home(fused_models: Path, tmp_path: Path) -> None:
    """Nor a folder for temporary files, and on a disk where files may not grow."""
    homeless = {"HOME": "/proc/nowhere", "TMPDIR": "/proc/nowhere", "CORELANE_CACHE": "", "XDG_CACHE_HOME": ""}
    manifest = f"models: [{{name: m, path: {fused_models / 'hash'}}}]"
    with serving(tmp_path, manifest, environment=homeless) as server, Client(server.grpc) as client:
        found = server.wait_state("m", 1, "AVAILABLE")
        assert (found["engine"], MENDED_BY in found["engine_why"]) == ("tensorflow", True)
        assert server.log.read_text().count("plans and profiles cannot be kept in /proc/nowhere/.cache/corelane: ") == 1
        assert client.predict("m", INPUTS)["y"].shape == (2, 4)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x/corelane")
    assert cache_folder({"XDG_CACHE_HOME": "/x", "CORELANE_CACHE": "/c"}) == Path("/c")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert cache_folder({}) == Path("/var/cache/corelane")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cache_folder({"CORELANE_CACHE": "/c"}) == Path("/c")
    with pytest.raises(StartError, match="CORELANE_CACHE should be an absolute path"):
        cache_folder({"CORELANE_CACHE": "c"})


FULL = {
    "limit": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n",
    "disk": "",
}


@pytest.mark.parametrize("kind", FULL)
@pytest.mark.parametrize("command", ["plan_of", "compile"])
def test_a_full_disk_is_no_word_on_the_model(fused_models: Path, tmp_path: Path, kind: str, command: str) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    model = fused_models / "hash/1"
    run = {
        "plan_of": "from corelane.processor.plans.fusing import plan_of\n"
        f"plan_of(Path({str(model)!r}), Path({str(cache)!r}))",
        "compile": "from corelane.commands.main import main\n"
        f"sys.argv = ['corelane', 'compile', {str(model)!r}, {str(cache / 'out')!r}]; sys.exit(main())",
    }[command]
    code = f"import sys; from pathlib import Path\n{FULL[kind]}{run}"
    with contextlib.ExitStack() as stack:
        if kind == "disk":
            if os.geteuid() != 0:
                pytest.skip("only root can mount a small disk")
            stack.enter_context(mounted(cache, ["-t", "tmpfs", "-o", "size=16k", "tmpfs"]))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert re.search("File too large|No space left on device|OpenVINO cannot write dense-0.xml", last)
        assert command == "compile" or MENDED_BY in last
        assert command != "compile" or "Traceback" not in done.stderr
        assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_request_log_on_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Has whole records before, and after there is room again; the log says so once."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "logs"
    folder.mkdir()
    settings = LogRoute(folder=str(folder), percent=100, bytes_max=1 << 30)
    counts: dict[str, int] = {}

    def counted() -> dict[str, int]:
        for count in log.take_counts():
            counts[count.outcome] = counts.get(count.outcome, 0) + count.number
        return counts

    with mounted(folder, ["-t", "tmpfs", "-o", "size=64k", "tmpfs"]):
        (folder / "ballast").write_bytes(bytes(50_000))
        log = RequestLog()
        for number in range(400):
            log.record(predict_call(number), settings, predict_answer())
            wait_until(lambda done=number + 1: sum(counted().values()) == done, "the record", 20)
        assert counts["failed"] > 50
        (folder / "ballast").unlink()
        log.record(predict_call(1), settings, predict_answer())
        log.close()
        (file,) = folder.iterdir()
        assert len(list(read(file))) == counted()["written"]
        assert counts["written"] + counts["failed"] == 401
    said = [record.getMessage() for record in caplog.records if "not logged" in record.getMessage()]
    assert len(said) == 1
    assert f"{folder} should have room and be writable (request_log.folder)" in said[0]


def test_a_link_opens_what_it_names(tmp_path: Path) -> None:
    version, shared = tmp_path / "m/1", tmp_path / "shared"
    (version / "variables").mkdir(parents=True)
    (version / "variables/data").write_text("x")
    (shared / "deep").mkdir(parents=True)
    (shared / "deep/file").write_text("one")
    (shared / "loop").symlink_to(shared)
    for name, target in (
        ("within", version / "variables"),
        ("shared", shared),
        ("around", tmp_path),
        ("host", Path("/etc/hostname")),
        ("process", Path("/proc/self/environ")),
        ("nowhere", tmp_path / "nothing"),
    ):
        (version / name).symlink_to(target)
    content = readable_content(version)
    assert set(content.files) in ({"within/data", "shared/deep/file"}, {"variables/data", "shared/deep/file"})
    assert content.linked == [shared / "deep/file"]
    assert set(content.folders) == {shared, shared / "deep"}
    assert content.refused.keys() >= {"around", "process"}
    key = content_key(version)
    (shared / "deep/file").write_text("two")
    assert content_key(version) != key, "weights behind a link are weights"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_a_link_opens_no_file_that_its_owner_cannot_read(tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    for name, mode, owner in (("open", 0o644, 0), ("secret", 0o640, 0), ("own", 0o600, 1234)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
        os.chown(tmp_path / name, owner, owner)
        (version / name).symlink_to(tmp_path / name)
        os.lchown(version / name, 1234, 1234)
    content = readable_content(version)
    assert set(content.files) == {"open", "own"}
    assert "may not be read by everybody" in content.refused["secret"]


def test_flags_where_the_current_folder_is_gone_or_keys_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "tls.config"
    keys.write_text('server_key: "k" server_cert: "c"')
    (tmp_path / "file").write_text("in the way")
    flags = ["--model_base_path=/models/m", f"--ssl_config_file={keys}"]
    with pytest.raises(StartError, match=rf"--ssl_config_file: its contents cannot be kept in .*; {MENDED_BY}"):
        convert(flags, "127.0.0.1:0", {}, tmp_path / "file")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StartError, match="models/m should be an absolute path: the current folder is gone"):
        convert(["--model_base_path=models/m"], "127.0.0.1:0", {}, tmp_path)
