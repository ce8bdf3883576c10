"""Metrics as Prometheus reads them.

TensorFlow Serving's names (`:tensorflow:...`) are by model, over all versions since the server started, in microseconds
and with its buckets; a request counts there once, shadow traffic not at all. Ours (`corelane_...`) are by version, in
seconds. Counters go on over a worker's or a gateway's end, and are there while the next one starts, so that sums do not
fall; a version's end with its being unloaded, and go on if it loads again. Gauges are of what serves now.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from corelane.processor.channel.histogram import BOUNDS_US
from corelane.processor.channel.methods import Assignment, Entry, Method
from corelane.processor.control.routes import DIFFERENCE_POWERS
from corelane.processor.supervisor.views.counts import ENDS, Counts, Histogram
from corelane.processor.supervisor.views.meters import Snapshot, VersionKey, VersionNumbers
from corelane.processor.version import VERSION
from corelane.processor.wire.status import CODE_NAMES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_APIS = {
    Method.PREDICT: "Predict",
    Method.CLASSIFY: "Classify",
    Method.REGRESS: "Regress",
    Method.MULTI_INFERENCE: "MultiInference",
    Method.METADATA: "GetModelMetadata",
    Method.INFER: "ModelInfer",
}
# TensorFlow Serving's latency buckets: 33 of them, each 1.8 times the last.
_TENSORFLOW_BOUNDS_US = [10 * 1.8**power for power in range(33)]
# Ours are every fourth of the channel's, from 10 us to 100 s, so that counts are exact.
_KEPT = [index for index in range(len(BOUNDS_US)) if BOUNDS_US[index] >= 10][::4]


def text(snapshot: Snapshot) -> bytes:
    """The exposition of a snapshot, and of this process."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Collected(snapshot))
    return generate_latest(registry)


class _Collected:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        yield from _tensorflow(self._snapshot)
        yield from _requests(self._snapshot.counts)
        yield from _times(self._snapshot.counts)
        yield from _gauges(self._snapshot.versions)
        yield from _server(self._snapshot)


def _tensorflow(snapshot: Snapshot) -> Iterator[Metric]:
    totals = snapshot.totals
    count = Metric(":tensorflow:serving:request_count", "Requests, by model and status.", "unknown")
    for (model, code), number in sorted(totals.codes.items()):
        count.add_sample(count.name, {"model_name": model, "status": CODE_NAMES[code]}, number)
    yield count

    latency = _histogram(
        ":tensorflow:serving:request_latency", "Microseconds from a request to its answer.", "model_name API entrypoint"
    )
    for (model, method, entry), histogram in sorted(totals.latency.items()):
        _add_us(latency, [model, _APIS[Method(method)], Entry(entry).name], histogram)
    yield latency

    run = _histogram(
        ":tensorflow:serving:runtime_latency", "Microseconds that a session took.", "model_name API runtime"
    )
    for (model, engine), histogram in sorted(totals.run.items()):
        _add_us(run, [model, "Predict", engine], histogram)
    yield run

    warm_up = _histogram(":tensorflow:serving:model_warmup_latency", "Microseconds of warm-up.", "model_path status")
    for path, histogram in sorted(totals.warm_ups.items()):
        _add_us(warm_up, [path, "OK"], histogram)
    yield warm_up

    load = Metric(":tensorflow:cc:saved_model:load_latency", "Microseconds of loading.", "unknown")
    for path, load_us in sorted(totals.load_us.items()):
        load.add_sample(load.name, {"model_path": path}, load_us)
    yield load
    attempts = Metric(":tensorflow:cc:saved_model:load_attempt_count", "Loads, by how they ended.", "unknown")
    for (path, status), number in sorted(totals.loads.items()):
        attempts.add_sample(attempts.name, {"model_path": path, "status": status}, number)
    yield attempts


def _requests(versions: Mapping[VersionKey, Counts]) -> Iterator[Metric]:
    calls = CounterMetricFamily(
        "corelane_requests", "Requests by gRPC status.", labels=["model", "version", "api", "entrypoint", "code"]
    )
    assigned = CounterMetricFamily(
        "corelane_assignments",
        "Requests that a version was chosen for, by why: named, labelled, highest (no split), split, sticky, shadowed.",
        labels=["model", "version", "assignment"],
    )
    ended = CounterMetricFamily(
        "corelane_queue_requests",
        "Requests in the version's queue by what came of them; rejected: it was full; interrupted: the worker died.",
        labels=["model", "version", "result"],
    )
    signatures = CounterMetricFamily(
        "corelane_signature_requests",
        "That ran a signature.",
        labels=["model", "version", "signature", "result"],
    )
    python = CounterMetricFamily(
        "corelane_through_python", "Requests that ran under Python's lock.", labels=["model", "version"]
    )
    runs = CounterMetricFamily(
        "corelane_engine_runs",
        "Runs of the engine for requests that stayed out of Python; batches count once.",
        labels=["model", "version"],
    )
    parts = CounterMetricFamily(
        "corelane_native_seconds",
        "Time of sessions, on requests that stayed out of Python, by what for.",
        labels=["model", "version", "part"],
    )
    cpu = CounterMetricFamily("corelane_worker_cpu_seconds", "Of the worker.", labels=["model", "version"])
    for (model, version), counts in sorted(versions.items()):
        who = [model, str(version)]
        cpu.add_metric(who, counts.cpu_s)
        for (method, entry, code), number in counts.codes.items():
            calls.add_metric([*who, _APIS[Method(method)], Entry(entry).name.lower(), CODE_NAMES[code]], number)
        for assignment in Assignment:
            assigned.add_metric([*who, assignment.name.lower()], counts.assigned[assignment])
        for result in (*ENDS, "rejected"):
            ended.add_metric([*who, result], counts.numbers[result])
        for (signature, result), number in counts.signatures.items():
            signatures.add_metric([*who, signature, result], number)
        python.add_metric(who, counts.numbers["through_python"])
        runs.add_metric(who, counts.numbers["runs"])
        for part in ("decode", "engine", "encode"):
            parts.add_metric([*who, part], counts.numbers[f"{part}_ns"] / 1e9)
    yield from (calls, assigned, ended, signatures, python, runs, parts, cpu)


def _times(versions: Mapping[VersionKey, Counts]) -> Iterator[Metric]:
    latency = _histogram(
        "corelane_request_seconds",
        "In a gateway, of answers.",
        "model version api entrypoint",
    )
    whole = {
        "queue": _histogram("corelane_queue_seconds", "Waits for a session.", "model version"),
        "run": _histogram("corelane_run_seconds", "On a session, decoding and encoding included.", "model version"),
        "total": _histogram("corelane_worker_seconds", "In the worker, waits included.", "model version"),
        "gate": _histogram("corelane_gate_wait_seconds", "Sessions' waits for a core of the pool.", "model version"),
    }
    signatures = _histogram("corelane_signature_run_seconds", "On a session.", "model version signature")
    for (model, version), counts in sorted(versions.items()):
        who = [model, str(version)]
        for (method, entry), histogram in counts.latency.items():
            _add_s(latency, [*who, _APIS[Method(method)], Entry(entry).name.lower()], histogram)
        for name, family in whole.items():
            _add_s(family, who, counts.times[name])
        for signature, histogram in counts.signature_runs.items():
            _add_s(signatures, [*who, signature], histogram)
    yield from (latency, *whole.values(), signatures)


def _gauges(versions: Sequence[VersionNumbers]) -> Iterator[Metric]:
    def gauge(name: str, about: str, values: Iterable[float | None]) -> Metric:
        family = GaugeMetricFamily(f"corelane_{name}", about, labels=["model", "version"])
        for one, value in zip(versions, values, strict=True):
            if value is not None:
                family.add_metric([one.model, str(one.version)], value)
        return family

    yield gauge("queued_requests", "Waiting for a session.", (one.queued for one in versions))
    yield gauge("running_requests", "On a session.", (one.running for one in versions))
    yield gauge("queue_capacity", "Requests that may wait.", (one.queue_capacity for one in versions))
    yield gauge("sessions", "Of the SessionGroup.", (one.sessions for one in versions))
    yield gauge("cpus", "Hardware threads that sessions run on.", (one.cpus for one in versions))
    yield gauge("in_pool", "1 if the cores are the pool's.", (one.shares for one in versions))
    yield gauge("pool_weight", "Share of the pool, beside the others'.", (one.pool_weight for one in versions))
    yield gauge("pool_permits_held", "Cores of the pool that it runs on now.", (one.gate_held for one in versions))
    yield gauge("pool_waiting_sessions", "Waiting for a core of the pool.", (one.gate_waiting for one in versions))
    yield gauge("memory_bytes", "Resident, of the worker.", (one.memory_bytes for one in versions))
    yield gauge("load_seconds", "That the load took.", (one.load_s for one in versions))
    yield gauge("slo_p99_seconds", "The objective.", (one.slo_p99_s for one in versions))
    yield gauge("p99_seconds", "In the worker, of the last half minute.", (one.p99_s for one in versions))
    yield gauge("predicted_p99_seconds", "By the cost model.", (one.predicted_p99_s for one in versions))
    info = GaugeMetricFamily(
        "corelane_version_info", "What serves a version.", labels=["model", "version", "role", "engine", "precision"]
    )
    for one in versions:
        info.add_metric([one.model, str(one.version), one.role, one.engine, one.precision], 1)
    yield info


def _server(snapshot: Snapshot) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "corelane_version_state", "1 for the state that a version is in.", labels=["model", "version", "state"]
    )
    for model, version, state in snapshot.states:
        states.add_metric([model, str(version), state], 1)
    refused = CounterMetricFamily(
        "corelane_unrouted_requests", "Refused before a version was found.", labels=["model", "code"]
    )
    for (model, code), number in sorted(snapshot.refused.items()):
        refused.add_metric([model, CODE_NAMES[code]], number)
    restarts = CounterMetricFamily(
        "corelane_worker_crashes", "Workers that ended while they served.", labels=["model", "version"]
    )
    for (model, version), number in sorted(snapshot.restarts.items()):
        restarts.add_metric([model, str(version)], number)
    shadows = CounterMetricFamily(
        "corelane_shadow_answers",
        "Shadow traffic, by how its answers compare to those that clients got.",
        labels=["model", "version", "result"],
    )
    for (model, version, what), number in sorted(snapshot.shadows.items()):
        shadows.add_metric([model, str(version), what], number)
    logged = CounterMetricFamily(
        "corelane_request_log", "Calls drawn for the request log: written, dropped, failed.", labels=["model", "result"]
    )
    for (model, what), number in sorted(snapshot.logged.items()):
        logged.add_metric([model, what], number)
    yield from (states, refused, restarts, shadows, _differences(snapshot), logged)

    cpu = CounterMetricFamily(
        "corelane_gateway_cpu_seconds",
        "Of the gateways in a place, one after the other.",
        labels=["protocol", "gateway"],
    )
    memory = GaugeMetricFamily("corelane_gateway_memory_bytes", "Resident.", labels=["protocol", "gateway"])
    up = GaugeMetricFamily("corelane_gateways", "That take requests.", labels=["protocol"])
    ready: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for gateway in snapshot.gateways:
        labels = [gateway.protocol, str(seen[gateway.protocol])]
        cpu.add_metric(labels, gateway.cpu_s)
        if gateway.memory_bytes is not None:
            memory.add_metric(labels, gateway.memory_bytes)
        seen[gateway.protocol] += 1
        ready[gateway.protocol] += gateway.ready
    for protocol, count in ready.items():
        up.add_metric([protocol], count)
    yield from (cpu, memory, up)

    yield GaugeMetricFamily("corelane_reserve_cpus", "Of gateways and the system.", snapshot.reserve_cpus)
    yield GaugeMetricFamily("corelane_pool_cpus", "That A/B versions share.", snapshot.pool_cpus)
    yield GaugeMetricFamily("corelane_pool_permits_taken", "Cores of the pool that are busy.", snapshot.pool_taken)
    yield CounterMetricFamily("corelane_plan_changes", "Of who has which cores.", snapshot.plan_changes)
    yield GaugeMetricFamily("corelane_plan_problems", "Such as SLOs that cannot be met.", snapshot.plan_problems)
    yield GaugeMetricFamily("corelane_ready", "1 when probes hear that the server is ready.", snapshot.ready)
    yield GaugeMetricFamily("corelane_uptime_seconds", "Since the start.", snapshot.uptime_s)
    yield InfoMetricFamily("corelane_build", "What this is.", {"version": VERSION})


def _differences(snapshot: Snapshot) -> Metric:
    family = _histogram(
        "corelane_shadow_difference",
        "Largest difference of a shadow's outputs from those that the client got; +Inf: names, shapes or texts differ.",
        "model version",
    )
    for model, version in sorted({(model, version) for model, version, _ in snapshot.differences}):
        seen, buckets = 0, []
        for power in (*(str(one) for one in DIFFERENCE_POWERS), "inf"):
            seen += snapshot.differences.get((model, version, power), 0)
            buckets.append(("+Inf" if power == "inf" else f"1e{power}", float(seen)))
        family.add_metric([model, str(version)], buckets, None)
    return family


def _histogram(name: str, about: str, labels: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, about, labels=labels.split())


def _add_s(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts, sum_ns = histogram
    family.add_metric(labels, _cumulative(counts, [BOUNDS_US[index] for index in _KEPT], 1e6), sum_ns / 1e9)


def _add_us(family: HistogramMetricFamily, labels: list[str], histogram: Histogram) -> None:
    counts, sum_ns = histogram
    family.add_metric(labels, _cumulative(counts, _TENSORFLOW_BOUNDS_US, 1), sum_ns / 1e3)


def _cumulative(counts: Sequence[int], bounds_us: Sequence[float], unit: float) -> list[tuple[str, float]]:
    """Buckets up to each bound. What lies in one of the channel's buckets counts as its upper bound."""
    slots = [0] * (len(bounds_us) + 1)
    for index, count in enumerate(counts):
        if count:
            upper = BOUNDS_US[index] if index < len(BOUNDS_US) else float("inf")
            slots[bisect_left(bounds_us, upper)] += count
    buckets, seen = [], 0
    for bound, count in zip(bounds_us, slots, strict=False):
        seen += count
        buckets.append((f"{bound / unit:.6g}", float(seen)))
    return [*buckets, ("+Inf", float(sum(counts)))]
