"""Which failures are worth another call, and after which pause."""

from corelane.processor.errors import RequestError, Unavailable

PAUSE_FIRST_S = 0.05
PAUSE_MAX_S = 1.0


def pause_s(
    failure: RequestError, *, failures: int, retries: int, remaining_s: float | None, draw: float
) -> float | None:
    """Seconds to wait before the next try after this many `failures`; None if the failure stands.

    Only UNAVAILABLE is tried again: a restart or a load passes. RESOURCE_EXHAUSTED is not: the server refuses at once
    because it has more calls than it can answer, and more of them make that worse. Pauses double; `draw`, in [0, 1),
    spreads the clients that failed together. No pause outlasts the time that remains."""
    if not isinstance(failure, Unavailable) or failures > retries:
        return None
    pause = min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** min(failures - 1, 30)) * (0.5 + draw / 2)
    return pause if remaining_s is None or pause < remaining_s else None
