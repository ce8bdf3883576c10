"""Where a call's time goes, and what to do about it, in words."""

from dataclasses import astuple, dataclass

_ADVICE = {
    "gateway_ms": "in the gateways, with copying and gRPC or JSON: more of them (host.gateways), or more rows a call",
    "queue_ms": "waiting for a session that is free: more cores (slo_p99_ms lets the plan give them, host.cores allows "
    "them), more sessions, or less traffic; queue.timeout_ms bounds the wait",
    "pool_ms": "waiting for a core of the pool, which other versions use: a higher pool_weight, fewer versions in the "
    "pool, or role baseline for cores of its own",
    "run_ms": "in the model's own run: engine and precision (above, with the reasons), fewer rows a call, or "
    "threads_per_session make it shorter; more cores do not",
}
_SHORT = {"gateway_ms": "gateway", "queue_ms": "queue", "pool_ms": "pool", "run_ms": "run"}
_QUICK_MS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Mean ms of an answered call, which make up its time in the server: in a gateway, in the queue while sessions are
    busy, in the queue while the pool is, on a session."""

    gateway_ms: float
    queue_ms: float
    pool_ms: float
    run_ms: float

    @property
    def sum_ms(self) -> float:
        return float(sum(astuple(self)))

    def to_json(self) -> dict[str, float]:
        return {short: getattr(self, name) for name, short in _SHORT.items()}


def explanation(parts: Parts | None, calls: int, refused: int, *, shares: bool) -> str:
    """What takes most of the time, and what to do. `parts` is None without an answer; `refused`: calls that found the
    queue full; `shares`: the version runs on the pool's cores."""
    if not calls:
        return "No call came in the last minute."
    if parts is None:
        sentence = f"None of {calls} calls was answered in the last minute."
    else:
        sum_ms = parts.sum_ms
        name = max(_SHORT, key=lambda part: getattr(parts, part))
        share = getattr(parts, name) / sum_ms if sum_ms > 0 else 0.0
        if sum_ms < _QUICK_MS:
            sentence = f"Calls are quick: {sum_ms:.3g} ms, most of it ({share:.0%}): {_SHORT[name]}."
        else:
            sentence = f"{share:.0%} of {sum_ms:.3g} ms is spent {_ADVICE[name]}."
            if name == "queue_ms" and shares:
                sentence += " It shares the pool's cores; role baseline would give it cores of its own."
    if refused:
        sentence += f" {refused} calls were refused, because the queue was full: queue.capacity is how many may wait."
    return sentence
