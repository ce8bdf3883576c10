"""Each bench runs at its smoke size, so that it cannot rot."""

import json
import subprocess
import sys

import pytest

from corelane.kernels import instruction_sets


def run(*arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=800, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_serving() -> None:
    found = json.loads(run("bench.serving", "--smoke", "--json"))
    assert found["environment"]["cores"]
    rows = found["rows"]
    assert [(row["batch"], row["where"]) for row in rows] == [
        (1, "in process"),
        (1, "over gRPC"),
        (100, "in process"),
        (100, "over gRPC"),
    ]
    for row in rows:
        assert row["rate"] > 0
        assert row["failed"] == 0
        assert row["p50_ms"] <= row["p99_ms"]
    assert all(row["worker_us"] > 0 and row["gateway_us"] > 0 for row in rows if row["where"] == "over gRPC")


def test_loading() -> None:
    found = json.loads(run("bench.loading", "--smoke", "--json"))
    assert found["failed"] == 0
    assert found["loads"] >= 1
    assert [row["latency"] for row in found["rows"]] == ["p50", "p90", "p99"]


@pytest.mark.timeout(900)
def test_chaos() -> None:
    """Every kind of fault once."""
    found = json.loads(run("bench.chaos", "--seconds", "1", "--json"))
    assert found["problems"] == {}
    assert {row["fault"] for row in found["rows"]} == {"none", *found["kinds"]} - found["skipped"].keys()
    assert found["skipped"].keys() <= {"full disk under the request log"}
    total = found["total"]
    assert total["answers"] > 1000
    assert total["wrong"] == total["hung"] == total["lost"] == 0
    for caller in ("predict_split", "predict_ads", "infer", "rest", "scrape"):
        assert any(name.startswith(caller) and count for name, count in found["callers"].items()), caller


def test_soak() -> None:
    assert run("bench.soak", "--cycles", "5").endswith("no growth\n")


def test_path() -> None:
    rows = json.loads(run("bench.path", "--smoke", "--json"))["rows"]
    assert [(row["inputs"], row["batch"]) for row in rows] == [(1, 1), (1, 100)]
    assert all(row[stage] > 0 for row in rows for stage in ("gateway_us", "channel_us", "decode_us", "run_us"))


def test_python_path() -> None:
    rows = json.loads(run("bench.python_path", "--smoke", "--json"))["rows"]
    assert all(row["total_us"] > row["run_us"] > 0 for row in rows)


@pytest.mark.skipif("avx512f" not in instruction_sets(), reason="oneDNN has no bf16 here")
def test_precision() -> None:
    (row,) = json.loads(run("bench.precision", "--smoke", "--json"))["rows"]
    assert row["ratio"] > 0
    assert 0 < row["difference"] < 0.05


def test_isolation() -> None:
    rows = json.loads(run("bench.isolation", "--smoke", "--json"))["rows"]
    assert [row["server"] for row in rows] == ["no roles", "corelane"]
    assert all(row["goodput"] > 0 and row["loads"] >= 1 for row in rows)


def test_cost_model() -> None:
    rows = json.loads(run("bench.cost_model", "--smoke", "--json"))["rows"]
    assert len(rows) == 51
    assert all(row["predicted_ms"] > 0 and row["found_ms"] > 0 for row in rows)


def test_scheduler_scale() -> None:
    found = json.loads(run("bench.scheduler_scale", "--smoke", "--json"))
    assert found["plan_ms"] > 0
    rows = {(row["load"], row["policy"]): row for row in found["rows"]}
    assert len(rows) == 16
    assert rows["50 %", "corelane"]["base_in_time"] > 0.95


def test_session_group() -> None:
    rows = json.loads(run("bench.session_group", "--smoke", "--json"))["rows"]
    assert [row["how"] for row in rows[1:]] == ["one session", "round robin", "shared queue"]
    assert rows[0]["how"].startswith("default pools")
    assert all(row["rate"] > 0 for row in rows)


def test_fused() -> None:
    found = json.loads(run("bench.fused", "--smoke", "--json"))
    assert found["refused"] == {}
    assert [row["batch"] for row in found["rows"]] == [1, 8]
    assert all(row["ratio"] > 0 for row in found["rows"])


def test_lookups() -> None:
    rows = json.loads(run("bench.lookups", "--smoke", "--json"))["rows"]
    assert [row["type"] for row in rows] == ["fp32", "bf16", "int8"]
    assert all(row["hot_ns"] > 0 and row["cold_ns"] > 0 for row in rows)


def test_outside() -> None:
    (row,) = json.loads(run("bench.outside", "--smoke", "--packages", "keras", "--json"))["rows"]
    assert (row["model"], row["why_not"]) == ("keras-bst", "")
    assert row["fused"] == row["inputs"] == 2


def test_memory() -> None:
    rows = json.loads(run("bench.memory", "--smoke", "--json"))["rows"]
    assert [row["engine"] for row in rows] == ["tensorflow", "fused"]
    assert all(row["two_mib"] > row["one_mib"] > 0 for row in rows)
