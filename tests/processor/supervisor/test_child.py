"""Processes of the supervisor that behave oddly: each is listened to, or killed and said to be."""

import asyncio
import json
import logging
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corelane.processor.control.gateway_messages import Ready
from corelane.processor.control.messages import Beat, Failed, not_understood
from corelane.processor.control.worker_messages import Drain
from corelane.processor.supervisor.children.child import Child
from corelane.processor.supervisor.children.endings import Ending
from corelane.processor.supervisor.children.heartbeats import Heartbeats, Watched
from corelane.processor.supervisor.children.output import LINE_BYTES_MAX, Lines

ROOT = Path(__file__).parents[3]
LIMIT_S, TICK_S = 1.0, 0.05


class Odd:
    """An odd child and what was heard of it."""

    def __init__(self, oddity: str, on_message: Callable[[Any], None] = lambda message: None, **details: Any) -> None:
        self.messages: list[str] = []
        self.end: Ending | None = None

        def heard(message: Any) -> None:
            self.messages.append(message.error if isinstance(message, Failed) else type(message).__name__)
            if isinstance(message, Drain):
                raise not_understood(message)
            on_message(message)

        def ended(ending: Ending) -> None:
            self.end = ending

        self.child = Child(
            "tests.support.odd_child",
            "odd",
            Ready(),
            on_message=heard,
            on_exit=ended,
            environment={**os.environ, "PYTHONPATH": str(ROOT), "ODDITY": json.dumps([oddity, details])},
        )

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.child.kill()
        await self.child.ended()


@pytest.mark.parametrize(
    ("oddity", "reason", "output"),
    [
        ("close the connection", "closed its control connection; it was killed", ""),
        ("say no message", "Expecting value: line 1 column 1 (char 0), in its control connection; it was killed", ""),
        ("say a kind that is none", "'odd' is no kind of message here, in its control connection; it was killed", ""),
        ("say what has no meaning here", "Drain means nothing here, in its control connection; it was killed", ""),
        ("hear what is no message", "exited with code 4", "InvalidMessage: 'odd' is no kind of message here"),
        ("say too much", "Separator is not found, and chunk exceed the limit, in its control connection; it was", ""),
        ("end a thread", "exited with code 4", "thread of great worth ended; the process ends"),
        ("exit in a thread", "exited with code 4", "thread of great worth ended by a fault (SystemExit: 0)"),
        ("fail in a thread of a library", "exited with code 4", "thread not ours ended by a fault (IndexError: list"),
    ],
)
def test_a_process_that_is_not_as_it_was_ends(oddity: str, reason: str, output: str) -> None:
    async def run() -> None:
        odd = Odd(oddity)
        await odd.until(lambda: odd.end)
        assert odd.end is not None
        assert odd.end.how.startswith(reason)
        assert output in odd.end.words

    asyncio.run(run())


def test_a_message_that_is_not_handled_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        def refuse(message: Any) -> None:
            if message == Failed(error="odd"):
                raise KeyError("engine")

        odd = Odd("say what is not understood", refuse)
        await odd.until(lambda: "odd" in odd.messages)
        odd.child.send(Beat(number=7))
        await odd.until(lambda: odd.child.beat == 7)
        await odd.close()

    asyncio.run(run())
    assert "its message Failed(error='odd') was not handled" in caplog.text


def test_output_without_newlines_is_read_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def run() -> None:
        odd = Odd("print without newline", mebibytes=50)
        await odd.until(lambda: "printed" in odd.messages)
        await odd.close()

    asyncio.run(run())
    printed = [record.getMessage() for record in caplog.records if "xxx" in record.getMessage()]
    assert sum(line.count("x") for line in printed) == 50 << 20
    assert max(map(len, printed)) <= LINE_BYTES_MAX + len("[odd] ")


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_lines(size: int) -> None:
    text = "\n".join(["short", "", "ü" * 9, "a" * (3 * LINE_BYTES_MAX + 5), "end"]).encode()
    lines = Lines()
    found = [line for at in range(0, len(text), size) for line in lines.feed(text[at : at + size])]
    found += lines.end()
    assert found[:2] == ["short", "ü" * 9]
    assert [len(line) for line in found[2:]] == [LINE_BYTES_MAX] * 3 + [5, 3]


async def beat(odd: Odd, ticks: int, *, answers: bool = True, patience: float = 100, start_s: float = 1e9) -> None:
    """Beats for so many ticks, or until it has ended."""
    heartbeats = Heartbeats(LIMIT_S, TICK_S)
    watched = Watched(child=odd.child, answers=answers, patience=patience, start_s=start_s)
    for _ in range(ticks):
        heartbeats.tick([watched] if odd.end is None else [])
        await asyncio.sleep(TICK_S)
        if odd.end is not None:
            return


TICKS = round(2.5 * LIMIT_S / TICK_S)


@pytest.mark.parametrize(
    ("oddity", "stops", "how", "reason"),
    [
        ("none", False, {}, None),
        ("none", True, {}, "was stopped and did not answer for 1 s; it was killed"),
        ("none", True, {"answers": False}, "was stopped and did not answer for 1 s; it was killed"),
        ("none", False, {"answers": False}, None),
        ("none", False, {"answers": False, "start_s": 1.5}, "did not say within 1.5 s that it serves; it was killed"),
        ("hold the lock computing", False, {}, None),
        ("hold the lock computing", False, {"patience": 0}, "did not answer for 1 s; it was killed"),
        ("hold the lock computing", False, {"patience": 2}, "did not answer for 3 s; it was killed"),
        ("hold the lock sleeping", False, {}, r"did not answer for \d+ s; it was killed"),
        ("hold the lock sleeping", False, {"answers": False}, None),
    ],
)
def test_beats(oddity: str, stops: bool, how: dict[str, Any], reason: str | None) -> None:
    async def run() -> None:
        odd = Odd(oddity, seconds=100 if reason else 3 * LIMIT_S)
        await odd.until(lambda: "Ready" in odd.messages)
        if stops:
            os.kill(odd.child.pid, signal.SIGSTOP)
        await beat(odd, 10 * TICKS if reason else TICKS, **how)
        if reason is None:
            assert odd.end is None
            odd.child.send(Beat(number=999))
            if "sleeping" not in oddity:
                await odd.until(lambda: odd.child.beat == 999)
            await odd.close()
        else:
            assert odd.end is not None
            assert re.fullmatch(reason, odd.end.how)

    asyncio.run(run())


def test_nobody_missed_a_beat_while_the_supervisor_stood_still() -> None:
    async def run() -> None:
        odd = Odd("none")
        await odd.until(lambda: "Ready" in odd.messages)
        heartbeats = Heartbeats(LIMIT_S, TICK_S)
        watched = [Watched(child=odd.child, answers=True, patience=0)]
        for _ in range(8):
            heartbeats.tick(watched)
            await asyncio.sleep(TICK_S)
            time.sleep(LIMIT_S / 2)  # the whole loop
        assert odd.end is None
        await odd.close()

    asyncio.run(run())
