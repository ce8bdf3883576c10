"""What operators ask for by the admin API: read from its JSON, and carried out.

Each returns the answer's JSON and its HTTP status; 400 is for a body that makes no sense, 409 for what cannot be done.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from corelane.processor.errors import ControlError, ManifestError
from corelane.processor.manifest import Manifest, parse_manifest
from corelane.processor.manifest.changes import changes, check_applicable
from corelane.processor.manifest.paths import path_problem
from corelane.processor.supervisor import tasks
from corelane.processor.supervisor.events import KEPT_MAX
from corelane.processor.supervisor.log_lines import KEPT_MAX as log_kept_max
from corelane.processor.supervisor.log_lines import LogLines
from corelane.processor.supervisor.supervisor import Supervisor
from corelane.processor.supervisor.traffic import Order
from corelane.processor.supervisor.views.history import RANGES_S
from corelane.processor.supervisor.views.status import status
from corelane.processor.wire.version_numbers import not_a_version, version_number

Answer = tuple[dict[str, Any], int]

_NAME_MAX = 200


async def apply(supervisor: Supervisor, body: Any, host: str) -> Answer:
    """{"manifest": text, "base": folder, "source": name, "by", "dry_run", "yes"}: `yes` lets all models go."""
    try:
        text, base, source = str(body["manifest"]), Path(body["base"]), str(body["source"])
        preview, certain, by = bool(body.get("dry_run")), bool(body.get("yes")), _who(body, host)
        if problem := path_problem(base):
            raise TypeError(problem)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"problems": [f"the body should have manifest, base and source: {error}"]}, 400
    async with supervisor.changing:
        try:
            # A large one takes seconds to parse.
            parse = partial(parse_manifest, text, source=source, base=base)
            manifest = await tasks.on_daemon_thread(parse, "manifest")
            check_applicable(supervisor.manifest, manifest)
            if preview:
                return {"changes": changes(supervisor.manifest, manifest)}, 200
            if not certain and _unloads_all(supervisor.manifest, manifest):
                raise ControlError("this unloads every model that is served; say `--yes` if it should")
            changed = supervisor.apply(manifest, by)
        except ManifestError as error:
            return {"problems": error.problems}, 409
        except ControlError as error:
            return {"problems": [str(error)]}, 409
    return {**status(supervisor), "changes": changed}, 200


async def change_traffic(supervisor: Supervisor, body: Any, host: str) -> Answer:
    """{"action": "promote" | "rollback" | "split", "model", "version", "shares": {version: percent}, "back", "by",
    "dry_run"}."""
    traffic = supervisor.traffic
    try:
        action = body["action"]
        order = Order(model=str(body["model"]), by=_who(body, host), preview=bool(body.get("dry_run")))
        version = _version(body["version"]) if action == "promote" else 0
        shares: dict[int, float] = {}
        back = None
        if action == "split":
            shares = _shares(body["shares"])
        elif action == "rollback" and body.get("back") is not None:
            back = _whole(body["back"])
        elif action not in ("promote", "rollback"):
            raise ValueError(f"there is no action {action}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        return {"problems": [f"the body should have action, model and what it takes: {error}"]}, 400
    async with supervisor.changing:
        try:
            if action == "promote":
                said = await traffic.promote(supervisor, order, version)
            elif action == "rollback":
                said = await traffic.roll_back(supervisor, order, back)
            else:
                said = await traffic.split(supervisor, order, shares)
        except ControlError as error:
            return {"problems": [str(error)]}, 409
    if not order.preview:
        await supervisor.published()
    return {"said": said}, 200


async def earlier_splits(supervisor: Supervisor, model: str) -> Answer:
    """What a model can be rolled back to: {"earlier": [{"back", "until_s", "said", "by", "versions"}]}, the newest
    first."""
    async with supervisor.changing:
        try:
            splits = await supervisor.traffic.earlier(model)
        except ControlError as error:
            return {"problems": [str(error)]}, 409
    earlier = [
        {
            "back": back,
            "until_s": split.until_s,
            "said": split.said,
            "by": split.by,
            "versions": [
                {"version": entry.version, "label": entry.label, "traffic": entry.traffic, "shadow": entry.shadow}
                for entry in split.entries
            ],
        }
        for back, split in enumerate(reversed(splits), 1)
    ]
    return {"earlier": earlier}, 200


def events(supervisor: Supervisor, query: Mapping[str, str]) -> Answer:
    """{"events": [...]}, the newest last; `model`, `version` and `limit` are optional."""
    try:
        limit, version = _number(query, "limit", KEPT_MAX), _number(query, "version", None)
    except ValueError as error:
        return {"problems": [str(error)]}, 400
    latest = supervisor.events.latest(limit or 0, query.get("model", ""), version)
    return {"events": [event.to_json() for event in latest]}, 200


def history(supervisor: Supervisor, query: Mapping[str, str]) -> Answer:
    """What `History.to_json` has of a `range`."""
    span = query.get("range", "5m")
    if span not in RANGES_S:
        return {"problems": [f"range should be one of {', '.join(RANGES_S)}, not {span}"]}, 400
    return supervisor.measures.history.to_json(span), 200


def log_lines(lines: LogLines, query: Mapping[str, str]) -> Answer:
    """{"lines": [{"number", "at_s", "level", "text"}]}, the newest last; `model`, `version`, `limit` and `after` (the
    number of a line) are optional."""
    try:
        limit, version = _number(query, "limit", log_kept_max), _number(query, "version", None)
        after = _number(query, "after", 0)
    except ValueError as error:
        return {"problems": [str(error)]}, 400
    latest = lines.latest(limit or 0, query.get("model", ""), version, after or 0)
    return {"lines": [line.to_json() for line in latest]}, 200


def _number(query: Mapping[str, str], name: str, default: int | None) -> int | None:
    text = query.get(name)
    number = default if text is None else version_number(text)
    if text is not None and number is None:
        raise ValueError(f"{name} should be a whole number")
    return number


def _who(body: Any, host: str) -> str:
    """Whoever asks may say their name; where they ask from we know."""
    name = str(body.get("by") or "")[:_NAME_MAX]
    return f"{name}, admin API from {host}" if name else f"admin API from {host}"


def _unloads_all(before: Manifest, after: Manifest) -> bool:
    names = {model.name for model in after.models}
    return bool(before.models) and not any(model.name in names for model in before.models)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value} is no whole number")
    return value


def _shares(given: Any) -> dict[int, float]:
    """Percentages by version. ValueError for what is none, or a version that stands twice."""
    shares: dict[int, float] = {}
    for name, share in given.items():
        version = _version(name)
        if isinstance(share, bool) or not isinstance(share, (int, float)):
            raise ValueError(f"{share} is no percentage")
        if version in shares:
            raise ValueError(f"version {version} stands twice")
        shares[version] = float(share)
    return shares


def _version(value: Any) -> int:
    """ValueError for what is none; a number of JSON's, or its text as a key has it."""
    number = version_number(value if isinstance(value, str) else str(value))
    if number is None:
        raise ValueError(not_a_version(str(value)))
    return number
