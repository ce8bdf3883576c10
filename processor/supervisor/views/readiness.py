"""Whether the server is ready for its clients, and which arms of a model miss: pure functions over what there is.

Ready is what probes act on: Kubernetes sends traffic to a pod from then on, and takes the pod before it away. So
nothing that may be on its way is passed over, and a model that has nothing to answer with counts, unless `host.ready`
is any.
"""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from corelane.processor.manifest import ModelSettings
from corelane.processor.supervisor import lifecycle
from corelane.processor.supervisor.lifecycle import Instance, Revision, Standing, Trouble, VersionReport, WantedModel
from corelane.scheduler.numbers import percent

SILENCE_S = 15.0
_NAMED_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Unready:
    """Why a model is not ready. `is_coming`: it may be by itself, soon."""

    reason: str
    is_coming: bool


def unready(
    models: Sequence[WantedModel],
    instances: Sequence[Instance],
    troubles: Mapping[Revision, Trouble],
    reasons: Mapping[str, str],
) -> dict[str, Unready]:
    """The models that are not ready, with the reasons that are known of them. Every version that should be served is to
    be, or to have failed for good, and one to answer."""
    found = {}
    for model in models:
        is_coming = not lifecycle.is_done(model, instances, troubles)
        if is_coming or not any(i.routed and i.spec.model == model.name for i in instances):
            why = reasons.get(model.name) or ("it is being loaded" if is_coming else "it has no version to serve")
            found[model.name] = Unready(reason=why, is_coming=is_coming)
    return found


def is_ready(policy: str, models: Sequence[WantedModel], missing: Mapping[str, Unready]) -> bool:
    """By `host.ready`: all models, or any of them once nothing is on its way."""
    if policy == "all":
        return not missing
    return not any(model.is_coming for model in missing.values()) and (not models or len(missing) < len(models))


def sentence(missing: Mapping[str, Unready]) -> str:
    """Why probes hear that the server is not ready, for those who ask a gateway."""
    if not missing:
        return "the server is being started"
    named = "; ".join(f"model {name}: {model.reason}" for name, model in itertools.islice(missing.items(), _NAMED_MAX))
    return named if len(missing) <= _NAMED_MAX else f"{named}; and {len(missing) - _NAMED_MAX} more models"


class Silences:
    """Since when models that had answered have nothing to answer with. Belongs to the event loop's thread."""

    def __init__(self, grace_s: float = SILENCE_S) -> None:
        """A restart takes a moment, for which nobody need be sent elsewhere: a model may be silent for `grace_s`."""
        self._grace_s = grace_s
        self._answered: set[str] = set()
        self._since_s: dict[str, float] = {}

    def look(self, models: Collection[str], serving: Collection[str], now_s: float) -> None:
        """`models` are those of the manifest, `serving` those that answer now."""
        self._answered = (self._answered | set(serving)) & set(models)
        since_s = self._since_s
        self._since_s = {name: since_s.get(name, now_s) for name in self._answered if name not in serving}

    def allow(self, policy: str, now_s: float) -> bool:
        """By `host.ready`: no model that had answered is silent for too long, or not every one of them."""
        silent = [name for name, since_s in self._since_s.items() if now_s - since_s >= self._grace_s]
        return not silent if policy == "all" else not silent or len(silent) < len(self._answered)


def reason_of(problem: str | None, reports: Sequence[VersionReport]) -> str:
    """What is known of why a model does not answer: of its path, or of its highest version that has an error."""
    if problem:
        return problem
    failed = [report for report in reports if report.error]
    return f"version {failed[-1].version}: {failed[-1].error}" if failed else ""


def missing_arms(settings: ModelSettings, reports: Sequence[VersionReport], serving: Sequence[int]) -> list[str]:
    """A sentence for each version that has traffic or a label and does not answer, while others of its model do."""
    if not serving:
        return []
    by_version = {report.version: report for report in reports}
    sentences = []
    for entry in settings.versions.listed:
        if entry.version in serving or entry.shadow is not None or not (entry.traffic or entry.label):
            continue
        report = by_version.get(entry.version)
        if report is not None and (report.restarting or report.standing is Standing.AVAILABLE):
            continue  # for a moment; its own error says so, or gateways are being told
        why = f": {report.error}" if report is not None and report.error else ""
        state = "is not there" if report is None else f"is {report.standing.value}"
        fates = []
        if entry.traffic:
            fate = "are refused" if settings.missing_arm == "fail" else "go to the others"
            fates.append(f"its {percent(entry.traffic)} % of the calls {fate}")
        if entry.label:
            fate = "go to the others" if settings.missing_arm == "others" else "are refused"
            fates.append(f"calls of label {entry.label} {fate}")
        sentences.append(f"version {entry.version} {state}, and {' and '.join(fates)} (missing_arm){why}")
    return sentences
