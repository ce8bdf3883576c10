"""Which workers to start, drain and kill: pure functions from what is wanted and what runs to actions.

The supervisor calls `decide` whenever something changed and carries the actions out; nothing here does I/O or reads a
clock, so the policy is tested with made-up times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from corelane.processor.control.worker_spec import WorkerSpec

NO_LONGER_WANTED = "no longer wanted"  # the reason of a Kill that is nobody's failure


class Phase(StrEnum):
    """Of one worker process."""

    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    DRAINING = "DRAINING"


class State(StrEnum):
    """Of a version, as GetModelStatus reports it."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


class Standing(StrEnum):
    """Of a version, as operators see it: `State`, with what that leaves open."""

    WAITING = "WAITING"  # for its files
    QUEUED = "QUEUED"  # to be loaded
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    RESTARTING = "RESTARTING"  # it served, and its next worker loads or is started soon
    FAILED = "FAILED"  # it could not be loaded; perhaps it is tried again
    RETIRED = "RETIRED"  # it served, and is wanted no more


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A version with these settings, from files with this fingerprint: what a worker is a worker of."""

    spec: WorkerSpec
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A version that should be served, from complete files with this fingerprint."""

    spec: WorkerSpec
    fingerprint: str
    load_timeout_ns: int

    @property
    def revision(self) -> Revision:
        return Revision(spec=self.spec, fingerprint=self.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedModel:
    """`keep_unwanted`: versions that are not wanted stay until all wanted ones are available (`latest`, `all`), and
    not just until one is (a list is the operator's word). `held`: versions whose files are not complete now; what
    serves them stays, and nothing is started. `is_seen`: its folder was looked at since there was a reason to; without
    that, nothing is started. `is_coming`: the files of a version may be on their way."""

    name: str
    versions: tuple[Wanted, ...] = ()
    keep_unwanted: bool = True
    held: frozenset[int] = frozenset()
    is_seen: bool = True
    is_coming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A worker process. `fingerprint` is of the files that it was started to load; `routed`: every gateway sends
    requests to it; `problem`: why one cannot."""

    id: int
    spec: WorkerSpec
    fingerprint: str
    phase: Phase
    since_ns: int
    load_timeout_ns: int
    routed: bool = False
    problem: str = ""

    @property
    def revision(self) -> Revision:
        return Revision(spec=self.spec, fingerprint=self.fingerprint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What went wrong with a revision the last time, at `at_ns`. `retry_ns` is when it is tried again, None: not at
    all; `was_available`: the worker that failed served; `served`: it or one before it did."""

    attempts: int
    error: str
    at_ns: int
    retry_ns: int | None
    was_available: bool
    served: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    wanted: Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    instance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    instance: int
    reason: str


Action = Start | Drain | Kill


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """`loads_max` workers load at once; one that has loaded for `slow_load_ns` no longer counts, so that a load that
    hangs holds up no other model."""

    loads_max: int
    slow_load_ns: int = 20_000_000_000
    drain_ns: int = 30_000_000_000
    backoff_max_ns: int = 30_000_000_000
    crashed_loads_max: int = 5
    healthy_ns: int = 60_000_000_000


def decide(
    models: Sequence[WantedModel],
    instances: Sequence[Instance],
    troubles: Mapping[Revision, Trouble],
    limits: Limits,
    now_ns: int,
) -> list[Action]:
    """The actions that bring `instances` nearer to `models`. The same input gives the same actions; carried out and
    asked again, it comes to rest."""
    actions: list[Action] = []
    actions.extend(_kills(instances, limits, now_ns))
    killed = {action.instance for action in actions if isinstance(action, Kill)}
    alive = [instance for instance in instances if instance.id not in killed]
    wanted_models = {model.name: model for model in models}

    for instance in alive:
        model = wanted_models.get(instance.spec.model)
        if model is not None and any(wanted.revision == instance.revision for wanted in model.versions):
            continue
        if model is not None and instance.phase is Phase.AVAILABLE and instance.spec.version in model.held:
            continue
        if instance.phase is Phase.LOADING:
            actions.append(Kill(instance=instance.id, reason=NO_LONGER_WANTED))
        elif instance.phase is Phase.AVAILABLE and _may_go(instance, model, alive):
            actions.append(Drain(instance=instance.id))

    recent = sum(
        instance.phase is Phase.LOADING and now_ns - instance.since_ns < limits.slow_load_ns for instance in alive
    )
    running = {instance.revision for instance in alive if instance.phase is not Phase.DRAINING}
    for model in models:
        for wanted in model.versions if model.is_seen else ():
            if recent >= limits.loads_max:
                return actions
            if wanted.revision not in running and _may_start(troubles.get(wanted.revision), now_ns):
                actions.append(Start(wanted=wanted))
                recent += 1
    return actions


def load_failed(last: Trouble | None, error: str, crashed: bool, limits: Limits, now_ns: int) -> Trouble:
    """After a failed load, with the `last` trouble of the same revision. One that crashed is tried again a few times,
    since memory may have been short; one that the engine refused is not: other files are another revision."""
    attempts = 1 if last is None or last.was_available else last.attempts + 1
    retry = now_ns + _backoff_ns(attempts, limits) if crashed and attempts < limits.crashed_loads_max else None
    return Trouble(
        attempts=attempts,
        error=error,
        at_ns=now_ns,
        retry_ns=retry,
        was_available=False,
        served=last is not None and last.served,
    )


def start_failed(last: Trouble | None, error: str, limits: Limits, now_ns: int) -> Trouble:
    """After a worker could not be started, which says nothing of the version: it is tried again until it can, after
    longer and longer waits."""
    attempts = last.attempts + 1 if last is not None else 1
    return Trouble(
        attempts=attempts,
        error=error,
        at_ns=now_ns,
        retry_ns=now_ns + _backoff_ns(attempts, limits),
        was_available=False,
        served=last is not None and last.served,
    )


def crashed(last: Trouble | None, error: str, up_ns: int, limits: Limits, now_ns: int) -> Trouble:
    """After a worker that served has died: tried again at once, then after longer and longer waits."""
    in_a_row = last is not None and last.was_available and up_ns < limits.healthy_ns
    attempts = last.attempts + 1 if last is not None and in_a_row else 1
    wait_ns = 0 if attempts == 1 else _backoff_ns(attempts - 1, limits)
    return Trouble(
        attempts=attempts,
        error=error,
        at_ns=now_ns,
        retry_ns=now_ns + wait_ns,
        was_available=True,
        served=True,
    )


def not_outlived(
    troubles: Mapping[Revision, Trouble], instances: Sequence[Instance], limits: Limits, now_ns: int
) -> dict[Revision, Trouble]:
    """Without crashes of versions that have been available since for so long that the next one counts as the first."""
    well = {
        instance.revision
        for instance in instances
        if instance.phase is Phase.AVAILABLE and now_ns - instance.since_ns >= limits.healthy_ns
    }
    return {
        revision: trouble for revision, trouble in troubles.items() if not (trouble.was_available and revision in well)
    }


def _backoff_ns(attempts: int, limits: Limits) -> int:
    return int(min(500_000_000 * 2 ** min(attempts - 1, 10), limits.backoff_max_ns))


def _kills(instances: Sequence[Instance], limits: Limits, now_ns: int) -> list[Kill]:
    kills = []
    for instance in instances:
        age_ns = now_ns - instance.since_ns
        if instance.phase is Phase.LOADING and age_ns > instance.load_timeout_ns:
            seconds = instance.load_timeout_ns / 1e9
            kills.append(Kill(instance=instance.id, reason=f"the load took longer than {seconds:g} s (load_timeout_s)"))
        elif instance.phase is Phase.DRAINING and age_ns > limits.drain_ns:
            kills.append(Kill(instance=instance.id, reason=f"still draining after {limits.drain_ns / 1e9:g} s"))
    return kills


def _may_go(instance: Instance, model: WantedModel | None, alive: Sequence[Instance]) -> bool:
    """Whether an available worker that nobody wants has been replaced."""
    if model is None:
        return True
    if not model.versions:
        return False  # the files vanished, the manifest did not change: serve what there is
    serving = {i.revision for i in alive if i.phase is Phase.AVAILABLE and i.routed}
    ready = [wanted.revision in serving for wanted in model.versions]
    same_version = [
        done for wanted, done in zip(model.versions, ready, strict=True) if wanted.spec.version == instance.spec.version
    ]
    if same_version:
        return all(same_version)
    return all(ready) if model.keep_unwanted else any(ready)


def _may_start(trouble: Trouble | None, now_ns: int) -> bool:
    return trouble is None or (trouble.retry_ns is not None and now_ns >= trouble.retry_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionReport:
    """What `status` says of a version. `restarting`: it served, and its next worker is on the way. The `error` of an
    available one is why it is not served from the files that are there now; `error_ns` is when that was found, where it
    was an event. `retry_ns` is when it is tried again."""

    version: int
    state: State
    standing: Standing
    error: str = ""
    restarting: bool = False
    error_ns: int | None = None
    retry_ns: int | None = None


def report(
    wanted: Sequence[Wanted],
    waiting: Mapping[int, str],
    instances: Sequence[Instance],
    troubles: Mapping[Revision, Trouble],
    ended: Mapping[int, str],
) -> list[VersionReport]:
    """The state of each version of one model, whose `instances` these are. `waiting` has the versions whose files are
    not complete and why, `ended` those that were served and their last error."""
    trouble_of = {w.spec.version: troubles.get(w.revision) for w in wanted}
    serving = {instance.revision for instance in instances if instance.phase is Phase.AVAILABLE}
    replaced = {w.spec.version for w in wanted if w.revision not in serving}
    reports = []
    for version in sorted({*trouble_of, *waiting, *ended, *(instance.spec.version for instance in instances)}):
        phases = [instance.phase for instance in instances if instance.spec.version == version]
        trouble = trouble_of.get(version)
        error = trouble.error if trouble else ""
        restarting = (
            trouble is not None and trouble.served and trouble.retry_ns is not None and Phase.AVAILABLE not in phases
        )
        available = [i for i in instances if i.spec.version == version and i.phase is Phase.AVAILABLE]
        if available and available[-1].problem:
            state, error = State.LOADING, available[-1].problem
        elif available:
            state = State.AVAILABLE
            if version in waiting:
                error = f"its files have changed, and what was loaded before is served: {waiting[version]}"
            elif error and version in replaced:
                error = f"files or settings have changed, and what was loaded before is served: {error}"
        elif Phase.LOADING in phases:
            state = State.LOADING
        elif Phase.DRAINING in phases:
            state = State.UNLOADING
        elif trouble is not None and trouble.retry_ns is None:
            state = State.END
        elif version in trouble_of:
            state = State.START
        elif version in waiting:
            state, error = State.START, waiting[version]
        else:
            state, error = State.END, ended[version]
        reports.append(
            VersionReport(
                version=version,
                state=state,
                standing=_standing(state, trouble, waits=version in waiting, restarting=restarting),
                error=error,
                restarting=restarting,
                error_ns=trouble.at_ns if trouble is not None and trouble.error in error else None,
                retry_ns=trouble.retry_ns if trouble is not None and state is State.START else None,
            )
        )
    return reports


def _standing(state: State, trouble: Trouble | None, *, waits: bool, restarting: bool) -> Standing:
    if state in (State.AVAILABLE, State.UNLOADING):
        return Standing(state)
    if restarting:
        return Standing.RESTARTING
    if state is State.LOADING:
        return Standing.LOADING
    if trouble is not None:
        return Standing.FAILED
    if state is State.END:
        return Standing.RETIRED
    return Standing.WAITING if waits else Standing.QUEUED


def is_settled(model: WantedModel, instances: Sequence[Instance], troubles: Mapping[Revision, Trouble]) -> bool:
    """Whether the model has a version available, or nothing is left to try until its files change."""
    if any(i.phase is Phase.AVAILABLE and i.routed and i.spec.model == model.name for i in instances):
        return True
    return is_done(model, (), troubles)


def is_done(model: WantedModel, instances: Sequence[Instance], troubles: Mapping[Revision, Trouble]) -> bool:
    """Whether every version that should be served is, from the files that are there now, or has failed for good. Not
    before the folder was looked at, nor while files may be on their way."""
    if not model.is_seen or model.is_coming:
        return False
    routed = {instance.revision for instance in instances if instance.routed}
    failed = {revision for revision, trouble in troubles.items() if trouble.retry_ns is None}
    return all(wanted.revision in routed or wanted.revision in failed for wanted in model.versions)
