"""What the demo shows, act by act, while calls go on: each does one thing to the server and says what came of it."""

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from corelane.client import Client
from corelane.commands.common import who
from corelane.demo.clicks import Clicks
from corelane.demo.server import DemoFailed, DemoServer
from corelane.demo.traffic import Traffic, inputs_of

STABLE, CANARY = 2, 4
_MODEL = "ctr"
_REPLACED, _OLD, _NEW = "ctr_dlrm", 1, 2
_WAIT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """`act_s`: for how long calls go on after each change."""

    server: DemoServer
    client: Client
    rows: Clicks
    traffic: Traffic
    say: Callable[[str], None]
    act_s: float

    def watch(self) -> dict[int, int]:
        """How many calls of the split model each version answers in one act."""
        before = self.traffic.answers()
        time.sleep(self.act_s)
        answered = self.traffic.answers() - before
        return {version: count for (model, version), count in sorted(answered.items()) if model == _MODEL}

    def see(self, act: Callable[[], None], condition: Callable[[], bool], text: str) -> tuple[float, int]:
        """Does something; how many seconds passed until what should come of it was so, and how many calls failed
        meanwhile and a while after."""
        failed, began_s = len(self.traffic.errors), time.monotonic()
        act()
        self.server.wait_for(condition, text, _WAIT_S)
        took_s = time.monotonic() - began_s
        time.sleep(self.act_s / 2)
        return took_s, len(self.traffic.errors) - failed


def a_call(stage: Stage) -> None:
    row = stage.rows.rows(0, 1)
    began_s = time.perf_counter()
    outputs, version = stage.client.predict_versioned(_MODEL, inputs_of(_MODEL, row), timeout_s=20)
    took_ms = (time.perf_counter() - began_s) * 1000
    user, item = (row.columns[name][0].decode() for name in ("user_id", "item_id"))
    score = float(outputs["score"].ravel()[0])
    stage.say(
        f"Will user {user} click item {item}? With probability {score:.3f}, says {_MODEL}/{version}, "
        f"{took_ms:.1f} ms later."
    )


def a_canary(stage: Stage) -> None:
    """A split, a promotion and the way back. DemoFailed if calls go where they should not."""
    split = {str(STABLE): 100 - 5, str(CANARY): 5}
    stage.say(f"corelane traffic {_MODEL} {STABLE}=95 {CANARY}=5")
    _ask(stage, {"action": "split", "model": _MODEL, "shares": split})
    counts = stage.watch()
    share = counts.get(CANARY, 0) / max(1, sum(counts.values()))
    stage.say(f"  {_counted(counts)}: the canary has {share:.1%}")
    for action, body, version in (
        (f"promote {_MODEL} {CANARY}", {"action": "promote", "version": CANARY}, CANARY),
        (f"rollback {_MODEL}", {"action": "rollback"}, STABLE),
        (f"traffic {_MODEL} {STABLE}=100", {"action": "split", "shares": {str(STABLE): 100}}, STABLE),
    ):
        stage.say(f"corelane {action}")
        _ask(stage, {"model": _MODEL, **body})
        counts = stage.watch()
        stage.say(f"  {_counted(counts)}")
        if max(counts, key=lambda number: counts[number], default=None) != version:
            raise DemoFailed(f"after {action} calls went to {_counted(counts)}")


def _ask(stage: Stage, body: dict[str, object]) -> None:
    stage.server.ask("/v1/traffic", {"by": who(), **body})
    time.sleep(0.1)  # calls that were on their way


def _counted(counts: dict[int, int]) -> str:
    return ", ".join(f"version {version} answered {count}" for version, count in counts.items()) or "nobody answered"


def a_crash(stage: Stage) -> None:
    """Kills the worker that most calls go to."""
    pid = stage.server.version(_MODEL, STABLE)["pid"]

    def kill() -> None:
        os.kill(pid, signal.SIGKILL)
        stage.say(f"kill -9 {pid}, the worker of {_MODEL}/{STABLE}")

    def is_back() -> bool:
        version = stage.server.version(_MODEL, STABLE)
        return version.get("state") == "AVAILABLE" and version["pid"] not in (None, pid)

    took_s, failed = stage.see(kill, is_back, "the worker is back")
    stage.say(
        f"  back after {took_s:.1f} s. Calls went to the other versions meanwhile, or were tried again: "
        f"{failed} failed."
    )


def a_new_version(stage: Stage) -> None:
    """Puts a copy of a version beside it; the newest one is served."""
    folder = models_of(stage.server) / _REPLACED
    memory_bytes = stage.server.version(_REPLACED, _OLD)["memory_bytes"] or 0

    def copy() -> None:
        shutil.copytree(folder / str(_OLD), folder / "copying")
        (folder / "copying").rename(folder / str(_NEW))
        stage.say(f"{_REPLACED}/{_NEW} is copied beside {_REPLACED}/{_OLD}")

    def is_replaced() -> bool:
        old = stage.server.version(_REPLACED, _OLD).get("state")
        return stage.server.version(_REPLACED, _NEW).get("state") == "AVAILABLE" and old in (None, "RETIRED")

    took_s, failed = stage.see(copy, is_replaced, "the new version has taken over")
    stage.say(
        f"  seen, loaded and warmed up beside the old one, which then answered what it had and ended: {took_s:.1f} s, "
        f"{memory_bytes >> 20} MiB given back, {failed} calls failed."
    )


def forget_new_version(models: Path) -> None:
    """As it was before: the next run shows it again."""
    for name in (str(_NEW), "copying"):
        shutil.rmtree(models / _REPLACED / name, ignore_errors=True)


def models_of(server: DemoServer) -> Path:
    return server.path.parent
