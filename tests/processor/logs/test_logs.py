"""The log is no dependency: nobody waits for it, it does not flood, and nothing in it is forged."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from corelane.processor import logs
from corelane.processor.errors import NotFound
from corelane.processor.logs import lines
from corelane.processor.logs.handler import QueuedHandler
from corelane.processor.logs.repeats import FOREIGN, Repeats
from tests.support import onnx_models
from tests.support.client import PlainClient as Client
from tests.support.server import FAST, WITH_REST, call_admin


def record(
    message: str, *arguments: object, level: int = logging.WARNING, foreign: str | None = None
) -> logging.LogRecord:
    made = logging.LogRecord("some.logger", level, "file.py", 1, message, arguments, None)
    if foreign is not None:
        setattr(made, FOREIGN, foreign)
    return made


def lines_in(descriptor: int) -> list[str]:
    return os.read(descriptor, 1 << 20).decode().splitlines()


def test_a_full_pipe_costs_lines_and_no_time() -> None:
    reader, writer = os.pipe()
    handler = QueuedHandler(writer, lines_max=100)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.start()
    for number in range(3000):  # far more than a pipe and the queue hold
        handler.handle(record(f"{number} {'x' * 1000}"))
    handler.flush(timeout_s=0.01)
    seen: list[str] = []
    rest = b""
    while not seen or "lines dropped" not in seen[-1]:
        *lines, rest = (rest + os.read(reader, 1 << 16)).split(b"\n")
        seen += [line.decode() for line in lines]
    dropped = int(seen[-1].split()[0])
    assert dropped > 2000
    assert len(seen) - 1 + dropped == 3000
    handler.handle(record("it goes on"))
    handler.flush()
    assert lines_in(reader) == ["it goes on"]


def test_lines_that_the_disk_refuses_are_counted(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    full = os.open("/dev/full", os.O_WRONLY)
    handler = QueuedHandler(full)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(5):
        handler.handle(record(f"{number}"))
    handler.flush()
    reader, writer = os.pipe()
    os.dup2(writer, full)  # there is room again
    handler.handle(record("more"))
    handler.flush()
    assert lines_in(reader) == ["more", "5 lines dropped: standard error was not read fast enough"]


def test_lines_wait_for_the_start() -> None:
    reader, writer = os.pipe()
    handler = QueuedHandler(writer)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.handle(record("early"))
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    handler.flush()
    assert lines_in(reader) == ["early"]


def test_what_repeats_is_limited_and_counted() -> None:
    repeats = Repeats(same_text_max=3, same_kind_max=5)

    def passed(made: logging.LogRecord, count: int, now_s: float = 0.0) -> int:
        return sum(repeats.passes(made, now_s) for _ in range(count))

    assert passed(record("%s is full: call %d", "disk", 1), 2) == 2
    assert passed(record("%s is full: call %d", "disk", 22), 5) == 1  # numbers apart, it is the same
    assert sum(repeats.passes(record("%s is full: call %d", f"disk {chr(97 + n)}", n), 0) for n in range(9)) == 2
    assert passed(record("another", level=logging.ERROR), 9) == 3
    assert passed(record("news", level=logging.INFO), 99) == 99
    assert passed(record("[worker] %s", "a library's", level=logging.INFO, foreign="worker"), 9) == 3
    assert repeats.due(59.0) == []
    notes = sorted(note.getMessage() for note in repeats.due(60.0))
    assert notes == [
        "[worker] a library's (and 6 more like it in a minute)",
        "another (and 6 more like it in a minute)",
        "disk is full: call 1 (and 4 more like it in a minute)",
        "disk is full: call 1 (and 7 more like it in a minute)",
    ]
    assert repeats.due(60.0) == []
    assert passed(record("another", level=logging.ERROR), 9, 60.0) == 3


def test_what_is_remembered_of_repeats_is_bounded() -> None:
    repeats = Repeats(same_text_max=1)
    for number in range(5000):
        repeats.passes(record("%s", "x" * number, foreign=f"child {number}"), 0.0)
        repeats.passes(record("%s", "x" * number, foreign=f"child {number}"), 0.0)
    withheld = [int(re.findall(r"and (\d+) more", note.getMessage())[-1]) for note in repeats.due(60.0)]
    assert len(withheld) < 1100
    assert sum(withheld) >= 5000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a model\nCRITICAL corelane: all is lost", r"a model\nCRITICAL corelane: all is lost"),
        ("\x1b[31mred\r", r"\x1b[31mred\r"),
        ("\u202egnp.exe \u2028 \x85 \x7f", r"\u202egnp.exe \u2028 \x85 \x7f"),
        ("Ärger, 模型 and a \\ stay", "Ärger, 模型 and a \\ stay"),
    ],
)
def test_text_of_others_stays_on_its_line(text: str, shown: str) -> None:
    assert lines.escaped(text) == shown


def test_a_trace_forges_no_line() -> None:
    program = (
        "import logging; from corelane.processor import logs; logs.configure('%(levelname)s %(message)s')\n"
        "try: raise ValueError('bad\\nCRITICAL forged \\x1b[0m')\n"
        "except ValueError: logging.exception('it failed')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, *trace = done.stderr.splitlines()
    assert first == "ERROR it failed"
    assert trace[-1] == r"  | CRITICAL forged \x1b[0m"
    assert all(line.startswith("  | ") for line in trace)


def test_the_server_answers_though_nobody_reads_its_log(tmp_path: Path) -> None:
    onnx_models.write_scale(tmp_path / "scale/1", 2)
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(
        WITH_REST.replace("}", ", access_log: all}") + "host: {gateways: 1}\nmodels: [{name: scale, path: scale}]"
    )
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "corelane", "serve", str(manifest)],
        stderr=subprocess.PIPE,
        env={**os.environ, **FAST, "CORELANE_CACHE": str(tmp_path / "cache")},
    )
    try:
        assert process.stderr is not None
        said = ""
        while "ready: " not in said:
            said += process.stderr.readline().decode()
        grpc, admin = (re.search(pattern, said) for pattern in (r"gRPC on (\S+),", r"admin on (\S+),"))
        assert grpc and admin
        # From here on nobody reads. The pipe holds 64 KiB, or some 300 of these lines.
        with Client(grpc[1]) as client:
            for _ in range(2000):
                assert client.predict("scale", {"x": np.ones(1, np.float32)})["y"] == 2
            forged = "m\nCRITICAL corelane: forged\x1b[31m"
            with pytest.raises(NotFound):
                client.predict(forged, {"x": np.ones(1, np.float32)})
        assert call_admin(admin[1], "/v1/status")["ready"]
        process.terminate()
        rest = process.stderr.read().decode()
        assert process.wait(60) == 0
        assert r"model=m\nCRITICAL corelane: forged\x1b[31m" in rest or "lines dropped" in rest
        assert "\x1b" not in rest
        assert not any(line.startswith("CRITICAL") for line in rest.splitlines())
    finally:
        process.kill()
        process.communicate()


def test_json_lines_of_children_keep_their_fields(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CORELANE_LOG_FORMAT", "json")
    caplog.set_level(logging.INFO)
    logger = logging.getLogger("passing")
    logs.pass_on(logger, "child", json.dumps({"level": "warning", "message": "hello", "model": "m"}))
    logs.pass_on(logger, "child", "{no json")
    first, second = caplog.records
    assert (first.levelno, first.getMessage(), first.fields) == (
        logging.WARNING,
        "hello",
        {"model": "m", "process": "child"},
    )
    assert (second.levelno, second.getMessage()) == (logging.INFO, "{no json")


def test_what_a_model_prints_as_json_is_no_line_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORELANE_LOG_FORMAT", "json")
    records: list[logging.LogRecord] = []
    logger = logging.Logger("corelane")
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    forged = {"level": "critical", "message": "m", "time": "1970", "logger": "root", "process": "other", "more": 1}
    for line in (json.dumps(forged), '{"a":' + "[" * 100_000, "{", "{}", '{"level": 7, "message": 1}'):
        logs.pass_on(logger, "m/1", line)
    assert len(records) == 5
    found = json.loads(lines._Json().format(records[0]))
    assert (found["process"], found["level"], found["message"], found["more"]) == ("m/1", "critical", "m", 1)
    assert found["time"] != "1970"
