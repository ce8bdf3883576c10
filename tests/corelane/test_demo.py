"""What the demo checks of served scores, and what it prints when that fails."""

import contextlib
import fcntl
import shutil
import socket
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from corelane.demo.checks import judge
from corelane.demo.run import run_demo, show
from corelane.demo.server import DemoFailed, manifest_of
from corelane.processor.errors import DeadlinePassed

SOURCE = np.random.default_rng(1)
LOGITS = SOURCE.normal(-1, 1.5, 2000)
LABELS = (SOURCE.random(2000) < 1 / (1 + np.exp(-LOGITS))).astype(np.float32)


def scores(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


OWN = scores(LOGITS)
# As a plan and a graph round in bf16, each at other places.
ROUNDED = scores(LOGITS.astype(ml_dtypes.bfloat16)).astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize(
    ("case", "served", "precision", "problem"),
    [
        ("the engine's own", OWN, "fp32", ""),
        ("another order of sums", OWN + np.float32(1e-6), "fp32", ""),
        ("bf16 for fp32", ROUNDED, "fp32", "ctr/1 answered 0.00"),
        ("bf16 as it rounds", ROUNDED, "bf16", ""),
        ("int8 rows", OWN + np.float32(0.004), "int8", ""),
        ("another model in bf16", np.roll(OWN, 1), "bf16", "ctr/1 answered 0."),
        ("scores that hardly differ and rank otherwise", OWN * 0 + 0.3, "bf16", "ctr/1 answered 0."),
        ("no number", np.where(OWN > 0.5, np.nan, OWN), "bf16", "ctr/1 answered (2000,) with (2000,) expected"),
        ("too few", OWN[:-1], "fp32", "ctr/1 answered (1999,) with (2000,) expected"),
    ],
)
def test_scores_are_judged_by_their_precision(case: str, served: np.ndarray, precision: str, problem: str) -> None:
    check = judge("ctr/1", served, OWN, LABELS, precision)
    assert (check.problem.startswith(problem), bool(check.problem)) == (True, bool(problem)), (case, check)


def test_small_moves_that_rank_otherwise() -> None:
    """Click rates of a hundredth: a move that is small for a score turns their order round."""
    own = 0.01 + OWN / 100
    check = judge("ctr/1", 0.02 - OWN / 100, own, LABELS, "bf16")
    assert check.difference < 0.02
    assert check.problem.startswith("ctr/1 ranks otherwise than its engine: AUC 0.")


def test_all_that_was_measured_is_printed_before_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DemoFailed, match=r"^ctr/1 is wrong; 1 calls failed; the first: late$"):
        show("a table", ["ctr/1 is wrong"], [DeadlinePassed("late")])
    assert capsys.readouterr().out == "\na table\nDeadlinePassed late\n"
    show("a table", [], [])
    assert capsys.readouterr().out == "\na table\n"


def addresses(folder: Path, port: int | None) -> list[int]:
    listen = manifest_of(folder, port)["listen"]
    return [int(listen[door].rpartition(":")[2]) for door in ("grpc", "http", "admin")]


def three_free_ports() -> int:
    """The first of three in a row that the system gives to nobody by itself."""
    for port in range(20000, 30000, 3):
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for number in range(port, port + 3):
                held.enter_context(socket.create_server(("127.0.0.1", number)))
            return port
    raise AssertionError("no three ports in a row are free")


def test_ports_are_those_asked_for_or_free(tmp_path: Path) -> None:
    port = three_free_ports()
    assert addresses(tmp_path, port) == [port, port + 1, port + 2]
    with (
        socket.create_server(("127.0.0.1", port + 2)),
        pytest.raises(DemoFailed, match=f"port {port + 2} is taken: choose another --port, or 0 for any"),
    ):
        manifest_of(tmp_path, port)
    free = addresses(tmp_path, 0)
    assert len(set(free)) == 3 and 0 not in free


def test_a_demo_without_ports_leaves_a_running_server_alone(tmp_path: Path) -> None:
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            held.enter_context(socket.create_server(("127.0.0.1", 8500)))
        assert 8500 not in addresses(tmp_path, None)


def test_one_demo_a_folder(tmp_path: Path) -> None:
    (tmp_path / "demo-models").mkdir()
    with (tmp_path / "demo-models/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DemoFailed, match=r"another demo has .*; choose another --folder"):
            run_demo(tmp_path, 1.0, port=0, retrain=False, keep=False)
    (tmp_path / "other/configs").mkdir(parents=True)
    shutil.copy("configs/demo.yaml", tmp_path / "other/configs")
    (tmp_path / "other/demo-models").write_text("")
    with pytest.raises(DemoFailed, match="demo-models cannot be written: File exists; choose another --folder"):
        run_demo(tmp_path / "other", 1.0, port=0, retrain=False, keep=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(DemoFailed, match="cannot be made: Not a directory; choose another --folder"):
        run_demo(tmp_path / "file", 1.0, port=0, retrain=False, keep=False)


def test_the_folders_own_manifest_is_served(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/demo.yaml").write_text("listen: {access_log: errors}\nmodels: [{name: m, path: m}]\n")
    document = manifest_of(tmp_path, 0)
    assert document["models"] == [{"name": "m", "path": "m"}]
    assert document["listen"]["access_log"] == "errors"
