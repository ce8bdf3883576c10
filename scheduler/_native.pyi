from collections.abc import Sequence

class Arrivals:
    def __init__(
        self,
        *,
        per_ms: float,
        service: Sequence[tuple[float, float]],
        slo_ms: float,
        waiting_max: int,
        waiting_ms_max: float,
        weight: float,
    ) -> None: ...

class Outcome:
    arrived: int
    answered: int
    in_time: int
    refused: int
    mean_ms: float
    p50_ms: float
    p99_ms: float

def simulate_sessions(
    *, versions: Sequence[Arrivals], cores: int, warm_up_ms: float, ms: float, seed: int
) -> list[Outcome]: ...
def simulate_slicing(
    *,
    versions: Sequence[Arrivals],
    cores: int,
    slice_ms: float,
    switch_ms: float,
    warm_up_ms: float,
    ms: float,
    seed: int,
) -> list[Outcome]: ...
