"""Looks at a model's folder: by the clock, when asked, and no more once they are not wanted."""

import asyncio
import math
import threading
from pathlib import Path

import pytest

from corelane.processor.knobs import Knobs
from corelane.processor.manifest import ModelSettings, VersionPolicy
from corelane.processor.supervisor.files import watching
from corelane.processor.supervisor.files.folders import FolderWatch, ModelFolder
from corelane.processor.supervisor.files.watching import ModelWatch


class Watched:
    """A watch of a folder, and what it told."""

    def __init__(self, path: Path, interval_s: float, settle_s: float = 0.01) -> None:
        self.told: list[ModelFolder] = []
        self.watch = ModelWatch(
            "m",
            path,
            Knobs(watch_interval_s=interval_s, settle_s=settle_s),
            model=lambda name: ModelSettings(name=name, path=path),
            on_change=lambda name, folder: self.told.append(folder),
        )

    async def looked(self) -> ModelFolder:
        """What was told last, once a look that was asked for has ended."""
        while not self.watch.has_looked:
            await asyncio.sleep(0)
        return self.told[-1]

    async def complete(self) -> ModelFolder:
        """What was told last, once nothing is waited for."""
        while not self.told or not self.told[-1].versions or self.told[-1].versions[0].waiting_for is not None:
            await asyncio.sleep(0)
        return self.told[-1]


def write(folder: Path, text: str = "x") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_text(text)


@pytest.mark.parametrize("interval_s", [math.inf, 1e6])
def test_a_look_is_finished_at_a_pace_of_its_own_and_repeated_when_asked(tmp_path: Path, interval_s: float) -> None:
    write(tmp_path / "1")

    async def run() -> None:
        watched = Watched(tmp_path, interval_s)
        first = await watched.complete()
        write(tmp_path / "2")
        assert watched.told[-1] is first
        watched.watch.look_again()
        assert not watched.watch.has_looked
        assert (await watched.looked()).versions[0].version == 2
        assert (await watched.complete()).versions[0].version == 2
        watched.watch.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_is_asked_for_is_told_even_if_nothing_has_changed(tmp_path: Path) -> None:
    async def run() -> None:
        watched = Watched(tmp_path / "none", math.inf)
        for count in (1, 2):
            assert (await watched.looked()).problem == f"{tmp_path}/none does not exist"
            assert len(watched.told) == count
            watched.watch.look_again()
        watched.watch.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_watch_ends_though_it_was_asked_in_the_same_moment(tmp_path: Path) -> None:
    """As by a reload that gives a model another path: a watch that lived on would tell of the old one."""
    write(tmp_path / "1")

    async def run() -> None:
        for interval_s in (math.inf, 1e6):
            watched = Watched(tmp_path, interval_s)
            await watched.complete()
            await asyncio.sleep(0)  # it waits again
            watched.watch.look_again()
            watched.watch.cancel()
            while any("watch of" in task.get_name() for task in asyncio.all_tasks()):
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_look_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a mount whose server is gone: neither the loop, nor the end of the process."""
    release = threading.Event()

    def hang(watch: FolderWatch, policy: VersionPolicy, libraries: list[Path]) -> ModelFolder:
        release.wait()
        return ModelFolder()

    monkeypatch.setattr(FolderWatch, "look", hang)

    async def run() -> None:
        watched = Watched(tmp_path, math.inf)
        while not (threads := [one for one in threading.enumerate() if one.name == "watch m"]):
            await asyncio.sleep(0)
        assert all(thread.daemon for thread in threads)
        watched.watch.cancel()
        while any("watch of" in task.get_name() for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        assert threads[0].is_alive()

    try:
        asyncio.run(asyncio.wait_for(run(), 60))
    finally:
        release.set()


def test_a_look_that_fails_is_told_of_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although nobody asks, and the next look by the clock is far away."""
    write(tmp_path / "1")
    look, failures = FolderWatch.look, [RuntimeError("no luck"), OSError(24, "Too many open files")]

    def odd(self: FolderWatch, policy: VersionPolicy, libraries: list[Path]) -> ModelFolder:
        if failures:
            raise failures.pop(0)
        return look(self, policy, libraries)

    monkeypatch.setattr(FolderWatch, "look", odd)
    monkeypatch.setattr(watching, "_RETRY_S", 0.01)

    async def run() -> None:
        watched = Watched(tmp_path, math.inf)
        assert (await watched.complete()).problem is None
        assert [folder.problem for folder in watched.told[:2]] == [
            f"{tmp_path} was not looked at: no luck",
            f"{tmp_path} was not looked at: [Errno 24] Too many open files",
        ]
        watched.watch.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))


def test_what_was_seen_before_a_look_that_fails_still_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "1")

    def odd(self: FolderWatch, policy: VersionPolicy, libraries: list[Path]) -> ModelFolder:
        raise RuntimeError("no luck")

    async def run() -> None:
        watched = Watched(tmp_path, math.inf)
        before = await watched.complete()
        monkeypatch.setattr(FolderWatch, "look", odd)
        watched.watch.look_again()
        assert await watched.looked() == before
        watched.watch.cancel()

    asyncio.run(asyncio.wait_for(run(), 60))
