"""Roll-backs that reach over restarts, and what is kept for them."""

from pathlib import Path
from typing import Any

import pytest

from corelane.commands.common import call_admin
from corelane.processor.errors import ControlError
from corelane.processor.manifest import VersionSettings
from corelane.processor.supervisor.splits import Split, Splits
from tests.support import onnx_models
from tests.support.server import SPLIT, Server, serving

MODELS = f"{SPLIT}  - {{version: 3, traffic: 0}}\n"


def change(server: Server, **body: Any) -> list[str]:
    return call_admin(server.admin, "/v1/traffic", {"model": "m", **body})["said"]


def arms(server: Server) -> dict[int, tuple[float, str | None]]:
    return {v["version"]: (v["traffic"], v["label"]) for v in server.status()["models"][0]["versions"]}


def test_any_earlier_split_is_reached_after_a_restart(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        onnx_models.write_scale(tmp_path / f"m/{version}", version)
    with serving(tmp_path, MODELS) as server:
        for version in (1, 2, 3):
            server.wait_state("m", version, "AVAILABLE")
        first = arms(server)
        change(server, action="split", shares={"1": 50, "2": 50})
        second = arms(server)
        said = change(server, action="promote", version=3, dry_run=True)
        assert said[0] == "version 3 of model m gets all calls" and arms(server) == second
        change(server, action="promote", version=3, by="eve")
        third = arms(server)
    with serving(tmp_path, server.manifest.read_text().partition("\n")[2]) as server:
        for version in (1, 2, 3):
            server.wait_state("m", version, "AVAILABLE")
        assert arms(server) == third
        earlier = call_admin(server.admin, "/v1/traffic/m")["earlier"]
        assert [(one["back"], one["said"]) for one in earlier] == [
            (1, "version 3 of model m gets all calls"),
            (2, "calls of model m: version 1 50 %, version 2 50 %"),
        ]
        assert earlier[0]["by"] == "eve, admin API from 127.0.0.1"
        for back in (0, 3, -1):
            with pytest.raises(ControlError, match="there are 2 earlier splits of model m"):
                change(server, action="rollback", back=back)
        assert "calls of model m: version 1 95 %, version 2 5 %" in change(server, action="rollback", back=2)
        assert arms(server) == first
        assert len(call_admin(server.admin, "/v1/traffic/m")["earlier"]) == 3, "what was up to then is kept, too"
        change(server, action="rollback")
        assert arms(server) == third
        # A version that had calls then is not in the list any more.
        text = "models: [{name: m, path: m, versions: [{version: 2, traffic: 0}, {version: 3, traffic: 100}]}]"
        server.manifest.write_text(server.manifest.read_text().partition("\n")[0] + "\n" + text)
        server.apply(server.manifest.read_text())
        with pytest.raises(ControlError, match="version 1 of model m had calls then, and is not in its list any more"):
            change(server, action="rollback")


def test_versions_that_came_since_get_no_calls(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        onnx_models.write_scale(tmp_path / f"m/{version}", version)
    plain = "models: [{name: m, path: m, versions: [{version: 1}, {version: 2}]}]"
    with serving(tmp_path, plain) as server:
        for version in (1, 2):
            server.wait_state("m", version, "AVAILABLE")
        change(server, action="promote", version=1)
        more = server.manifest.read_text().replace("]}]", ", {version: 3, traffic: 0}]}]")
        server.manifest.write_text(more)
        server.apply(more)
        server.wait_state("m", 3, "AVAILABLE")
        change(server, action="rollback")
        assert {version: share for version, (share, _) in arms(server).items()} == {1: 0, 2: 100, 3: 0}


def split(number: int) -> Split:
    return Split(
        until_s=float(number), said=f"{number}", by="me", entries=(VersionSettings(version=number, traffic=1e-5),)
    )


def test_what_is_kept_is_bounded_and_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state/m.splits"
    kept = Splits(path)
    kept.change("m", [split(number) for number in range(200)])
    assert [one.said for one in Splits(path).of("m")] == [f"{number}" for number in range(150, 200)]
    assert Splits(path).of("m") == tuple(split(number) for number in range(150, 200))
    for damage in (b"", path.read_bytes()[:-20], path.read_bytes().replace(b"me", b"mx", 1), b"[]\n00000000\n"):
        (tmp_path / "damaged").write_bytes(damage)
        assert Splits(tmp_path / "damaged").of("m") == ()
    assert caplog.text.count("are forgotten") == 4
    blocked = Splits(tmp_path / "damaged/x")
    for number in range(3):
        blocked.change("m", [split(number)])
    assert [one.said for one in blocked.of("m")] == ["2"]
    assert caplog.text.count("set CORELANE_STATE to a folder that can be written") == 1
