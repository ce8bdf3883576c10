"""How a process ended, in words that say what to look at."""

import signal
import subprocess
import sys

import pytest

from corelane.processor.supervisor.children import endings
from corelane.processor.supervisor.children.endings import Ending, ending_of, last_words


def code_of(number: int) -> int:
    """The exit code of a process that ended by a signal."""
    command = f"import os, signal; signal.signal({number}, signal.SIG_DFL); os.kill(os.getpid(), {number})"
    return subprocess.run([sys.executable, "-c", command], check=False).returncode


@pytest.mark.parametrize(
    ("number", "how", "cause"),
    [
        (signal.SIGSEGV, "was killed by SIGSEGV", "a custom-op library"),
        (signal.SIGABRT, "was killed by SIGABRT", "a check of the engine"),
        (signal.SIGBUS, "was killed by SIGBUS", "cut short or overwritten in place"),
        (signal.SIGILL, "was killed by SIGILL", "built for another processor"),
        (signal.SIGTERM, "was killed by SIGTERM", "by hand"),
        (signal.SIGRTMIN + 6, "was killed by signal 40", ""),
    ],
)
def test_signals(number: int, how: str, cause: str) -> None:
    ending = ending_of(code_of(number), "", [], None)
    assert ending.how == how
    assert cause in " ".join(ending.causes[:1])


def test_memory_is_named_only_where_the_kernel_has_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "memory_kills", lambda: 3)
    assert "memory ran out on this host" in ending_of(-9, "", [], 2).causes[0]
    assert "by hand" in ending_of(-9, "", [], 3).causes[0]
    assert "by hand" in ending_of(-9, "", [], None).causes[0]


def test_our_own_reason_comes_first() -> None:
    assert ending_of(-9, "did not answer for 15 s", ["x"], None) == Ending(
        how="did not answer for 15 s; it was killed", words="x"
    )
    assert ending_of(0, "", [], None).how == "exited"
    assert ending_of(3, "", [], None).how == "exited with code 3"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ""),
        (["one", "two"], "two"),
        (
            ["terminate called after throwing", "  what():  no such device", "Aborted (core dumped)", "", "---"],
            "Aborted (core dumped)",
        ),
        (
            ["F0000 check failed: x == y", "    @ 0x7f tensorflow::Run()", "    @ 0x80 main"],
            "F0000 check failed: x == y",
        ),
        (["two", "INFO a: contained: cannot write"], "two"),
        (["INFO a: contained: no failed calls"], ""),
        (["ERROR a: bad", "INFO b: goes on", "INFO c: goes on"], "ERROR a: bad"),
        (
            ["Traceback (most recent call last):", "  | KeyError: 'x'", "MemoryError: std::bad_alloc"],
            "MemoryError: std::bad_alloc",
        ),
    ],
)
def test_last_words_are_those_that_matter(lines: list[str], words: str) -> None:
    assert last_words(lines) == words


def test_a_sentence_of_it() -> None:
    ending = Ending(how="was killed by SIGBUS", words="oops", causes=("this", "that"))
    assert (
        ending.describe("the worker", " while loading")
        == "the worker was killed by SIGBUS while loading; its last words: oops; likely this or that"
    )


def test_a_model_without_custom_ops_did_not_crash_by_one() -> None:
    ending = ending_of(-signal.SIGSEGV, "", [], None)
    assert "op_libraries" in ending.describe("it") and ending.of_model(["ops.so"]) == ending
    assert ending.of_model([]).causes == ending.causes[1:]
