"""What differs between two manifests, in sentences, and where calls go."""

from pathlib import Path

import pytest

from corelane.processor.errors import ControlError
from corelane.processor.manifest import Manifest, parse_manifest
from corelane.processor.manifest.changes import changes, check_applicable, label_moves, where_calls_go

LISTED = """\
models:
- name: ctr
  path: /ctr
  versions:
  - {version: 3, label: stable, traffic: 95}
  - {version: 4, role: ab, label: next, traffic: 5}
"""


def parsed(text: str) -> Manifest:
    return parse_manifest(text, source="m.yaml", base=Path("/base"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("models: []", "models: []", []),
        ("models: []", "models: [{name: a, path: p}]", ["a is added: /base/p, the latest 1"]),
        ("models: [{name: a, path: p}]", "models: []", ["a is removed: its versions are unloaded"]),
        ("models: [{name: a, path: p}]", "models: [{name: a, path: q}]", ["a: path /base/p -> /base/q"]),
        (
            "models: [{name: a, path: p}]",
            "models: [{name: a, path: p, versions: {latest: 2}, queue: {capacity: 9}}]",
            ["a: queue.capacity 256 -> 9", "a: versions the latest 1 -> the latest 2"],
        ),
        (
            "models: [{name: a, path: p}]",
            "models: [{name: a, path: p, batching: {max_rows: 8}}]",
            ["a: batching not set -> {max_rows: 8, max_wait_us: 0}"],
        ),
        (
            LISTED,
            LISTED.replace("traffic: 95", "traffic: 50").replace("traffic: 5}", "traffic: 50}"),
            ["ctr: version 3: traffic 95 -> 50", "ctr: version 4: traffic 5 -> 50"],
        ),
        (
            LISTED,
            LISTED.replace("version: 4", "version: 5"),
            [
                "ctr: version 5 is added: role ab, label next, traffic 5",
                "ctr: version 4 is removed: it is unloaded",
            ],
        ),
        ("host: {drain_s: 1}\nmodels: []", "host: {drain_s: 2}\nmodels: []", ["host.drain_s 1 -> 2"]),
    ],
)
def test_changes(old: str, new: str, said: list[str]) -> None:
    assert changes(parsed(old), parsed(new)) == said


def test_what_only_a_restart_can_do() -> None:
    check_applicable(parsed("models: []"), parsed(LISTED))
    for section in ("host: {drain_s: 2}", 'listen: {grpc: "127.0.0.1:1"}'):
        with pytest.raises(ControlError, match="cannot change while the server runs"):
            check_applicable(parsed("models: []"), parsed(f"{section}\nmodels: []"))


def test_labels_and_calls() -> None:
    before = parsed(LISTED).models[0]
    after = parsed(
        LISTED.replace("label: next", "label: stable").replace("label: stable, traffic: 95", "traffic: 95")
    ).models[0]
    assert label_moves(before, after) == [
        "label stable of model ctr moves from version 3 to version 4",
        "label next of model ctr moves from version 4 to nowhere",
    ]
    assert where_calls_go(before) == "calls of model ctr: version 3 95 %, version 4 5 %"
    plain = parsed("models: [{name: a, path: p, versions: [{version: 1}, {version: 7}, {version: 9, shadow: 2.5}]}]")
    assert where_calls_go(plain.models[0]) == "calls of model a: version 7, the highest"
    shadow = parsed("models: [{name: a, path: p, versions: [{version: 1, traffic: 100}, {version: 9, shadow: 2.5}]}]")
    assert where_calls_go(shadow.models[0]) == "calls of model a: version 1 100 %, copied to version 9 2.5 %"
