"""Which tests run in one process, and in which order, when pytest-xdist spreads them over several.

Tests of a file stay together, since they share fixtures; those of `APART` share none, and each may run anywhere. What
takes longest comes first, so that no process is left with a long file at the end."""

from collections.abc import Sequence

import pytest
from xdist.scheduler import LoadScopeScheduling

# Files that take long, the longest first. The benches make their models in one folder, one after the other.
TOGETHER = (
    "tests/bench/test_smoke.py",
    "tests/processor/system/test_caches.py",
    "tests/processor/supervisor/test_page.py",
    "tests/processor/supervisor/test_heartbeats.py",
    "tests/test_documents.py",
    "tests/processor/supervisor/test_versions_on_disk.py",
    "tests/corelane/test_command_line.py",
    "tests/corelane/test_client.py",
    "tests/processor/supervisor/test_metrics.py",
    "tests/processor/loading/test_effects.py",
    "tests/processor/system/test_sandbox.py",
    "tests/configs/test_being_run.py",
    "tests/processor/supervisor/test_child.py",
    "tests/processor/supervisor/test_opening.py",
    "tests/processor/supervisor/test_page_actions.py",
)
# Files whose tests take seconds each, the longest first. They follow those of `TOGETHER`, which are longer pieces.
APART = (
    "tests/native/test_sanitized.py",
    "tests/processor/plans/test_fused.py",
    "tests/processor/plans/test_fused_exact.py",
    "tests/processor/supervisor/test_survival.py",
    "tests/processor/loading/test_bad_loads.py",
    "tests/processor/channel/test_kills.py",
    "tests/processor/supervisor/test_scheduling.py",
    "tests/processor/supervisor/test_traffic.py",
    "tests/processor/supervisor/test_readiness.py",
    "tests/processor/manifest/test_manifest_changes.py",
)
_PROCESSES_MAX = 6


class LongestFirst(LoadScopeScheduling):
    """Takes the tests in the order in which `sort` leaves them."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::")[0]
        return nodeid if file in APART else file


def processes(cores: int) -> int:
    """One for each core: with more, servers under test miss the deadlines of their callers."""
    return min(cores, _PROCESSES_MAX)


def sort(items: list[pytest.Item]) -> None:
    """UsageError for a test of `APART` with a fixture that its file makes once for all."""
    places = {file: place for place, file in enumerate((*TOGETHER, *APART))}
    items.sort(key=lambda item: places.get(_file(item), len(places)))
    for item in items:
        if _file(item) in APART and (names := _shared(item)):
            raise pytest.UsageError(f"{item.nodeid} shares {', '.join(names)}: its file belongs in {__name__}.TOGETHER")


def _file(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


def _shared(item: pytest.Item) -> list[str]:
    """The fixtures of a test that its file makes once for several tests."""
    assert isinstance(item, pytest.Function)
    definitions: dict[str, Sequence[pytest.FixtureDef]] = item._fixtureinfo.name2fixturedefs
    return [
        name
        for name, choices in definitions.items()
        if any(choice.scope != "function" and choice.baseid == _file(item) for choice in choices)
    ]
