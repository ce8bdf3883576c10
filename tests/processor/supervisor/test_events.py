"""What happened is known, to everybody who asks, over restarts, and never takes more room than it may."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from corelane.client import Client
from corelane.commands.common import call_admin
from corelane.processor.supervisor import events
from corelane.processor.supervisor.events import Event, Events, Kind, read
from tests.support import onnx_models
from tests.support.server import Server, serving, wait_until

MODELS = "models: [{name: a, path: a, versions: [{version: 1, traffic: 100}, {version: 2, traffic: 0}]}]"


def told(server: Server, **query: Any) -> list[dict[str, Any]]:
    text = "&".join(f"{key}={value}" for key, value in query.items())
    return call_admin(server.admin, f"/v1/events?{text}")["events"]


def kinds(server: Server, **query: Any) -> list[str]:
    return [event["kind"] for event in told(server, **query)]


def test_a_life(tmp_path: Path) -> None:
    """Loads, a crash, a promotion by somebody, a failed load, a refused manifest; and a second start knows of it."""
    for version in (1, 2):
        onnx_models.write_scale(tmp_path / f"a/{version}", version)
    with serving(tmp_path, MODELS) as server, Client(server.grpc) as client:
        server.wait_state("a", 2, "AVAILABLE")
        pid = server.wait_state("a", 1, "AVAILABLE")["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "crashed" in kinds(server), "the crash")
        wait_until(lambda: server.version("a", 1).get("pid") not in (None, pid), "the next worker")
        server.wait_state("a", 1, "AVAILABLE")
        assert server.version("a", 1)["restarts"] == 1
        body = {"action": "promote", "model": "a", "version": 2, "by": "eve"}
        call_admin(server.admin, "/v1/traffic", body)
        assert client.predict_versioned("a", {"x": [1.0]}, timeout_s=20)[1] == 2
        (tmp_path / "b/1").mkdir(parents=True)
        (tmp_path / "b/1/model.onnx").write_bytes(b"none")
        server.apply(server.manifest.read_text().replace("}]}]", "}]}, {name: b, path: b}]"))
        server.wait_state("b", 1, "FAILED")
        server.manifest.write_text("models: [")
        wait_until(lambda: "refused" in kinds(server), "the refusal")

        assert kinds(server)[0] == "started"
        assert kinds(server, model="b")[-2:] == ["loading", "failed"]
        assert "is not a model that ONNX Runtime can load" in told(server, model="b")[-1]["text"]
        ours = [event["kind"] for event in told(server, model="a", version=1) if event["kind"] != "cores"]
        assert ours == ["loading", "available", "crashed", "loading", "available"]
        (crash,) = [event for event in told(server, model="a") if event["kind"] == "crashed"]
        assert "was killed by SIGKILL" in crash["text"] and "another starts in 0.0 s" in crash["text"]
        (promotion,) = [event for event in told(server) if event["kind"] == "promoted"]
        assert promotion["text"].startswith("version 2 of model a gets all calls")
        assert promotion["by"] == "eve, admin API from 127.0.0.1"
        (applied,) = [event for event in told(server) if event["kind"] == "applied"]
        assert applied["text"] == "manifest applied: b is added: " + f"{tmp_path}/b, the latest 1"
        assert len(told(server, limit=2)) == 2
        log = server.log.read_text()
        assert "[a] version 2 of model a gets all calls" in log and "(by eve, admin API from 127.0.0.1)" in log
        server.manifest.write_text(MODELS)
    with serving(tmp_path, MODELS) as server:
        wait_until(lambda: kinds(server).count("started") == 2, "what was kept")
        assert [event for event in told(server) if event["kind"] == "promoted"] == [promotion]
        assert "stopping" in kinds(server)


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "version=x", "version=99999999999999999999", "limit=٣"])
def test_bad_questions(tmp_path: Path, query: str) -> None:
    class Nothing:
        events = Events()

    from corelane.processor.supervisor.api import orders

    plain = dict(part.split("=") for part in query.split("&"))
    assert orders.events(Nothing(), plain)[1] == 400


def test_both_ends_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_BYTES_MAX", 20_000)
    path = tmp_path / "state/m.events"
    kept = Events(path)
    for number in range(1, 3001):
        kept.note(Kind.LOADING, f"load {number}" + "x" * 50, model="m", version=number, level=None)
        if number % 500 == 0:  # no faster than a disk
            wait_until(lambda number=number: read(path)[-1:] and read(path)[-1].version == number, "the disk")
    assert [event.version for event in kept.latest()] == list(range(2001, 3001))
    assert [event.version for event in kept.latest(3, "m")] == [2998, 2999, 3000]
    assert kept.latest(3, "other") == [] and [event.version for event in kept.latest(9, "m", 2500)] == [2500]
    sizes = [file.stat().st_size for file in path.parent.iterdir()]
    assert len(sizes) == 2 and max(sizes) <= 20_000
    again = Events(path)
    wait_until(lambda: again.latest(1), "what was kept")
    assert again.latest(1)[0].version == 3000


def test_what_is_damaged_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "m.events"
    good = Event(at_s=1.0, kind=Kind.CORES, text="fine \ud800\n", by="me")
    lines = [
        json.dumps(good.to_json()).encode(),
        b"{",
        b"[]",
        b"null",
        b'{"kind": "cores"}',
        b'{"at_s": 1, "kind": "none", "text": ""}',
        b'{"at_s": "x", "kind": "cores", "text": ""}',
        b'{"at_s": 1, "kind": "cores", "text": 7}',
        b'{"at_s": 1, "kind": "cores", "text": "", "version": "1"}',
        b'{"at_s": 1, "kind": "cores", "text": "", "more": 1}',
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps(good.to_json()).encode()[:20],
    ]
    path.write_bytes(b"\n".join(lines))
    assert read(path) == [good]
    kept = Events(path)
    kept.note(Kind.STARTED, "next")
    wait_until(lambda: len(read(path)) == 2, "the line behind the cut one")
    assert read(path)[1].text == "next"
    assert read(tmp_path / "none") == []


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("no folder")
    kept = Events(tmp_path / "state/m.events")
    for number in range(5):
        kept.note(Kind.CORES, f"{number}", level=None)
    said = "set CORELANE_STATE to a folder that can be written"
    wait_until(lambda: said in caplog.text, "the warning")
    wait_until(lambda: kept._waiting.empty(), "the rest")
    assert caplog.text.count(said) == 1
    assert len(kept.latest()) == 5
