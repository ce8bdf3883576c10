"""The `versions` of a model: how many, all, or those of a list, whose every fault is told."""

import difflib
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_core import InitErrorDetails

from corelane.processor.manifest.faults import given, problem
from corelane.processor.manifest.settings import VersionPolicy, VersionSettings
from corelane.processor.manifest.values import Name, Strict
from corelane.processor.wire.version_numbers import VERSION_MAX
from corelane.scheduler.numbers import percent

_RIGHT = "{latest: N}, {all: true}, or a list of {version: N, role: ..., label: ..., traffic: ..., shadow: ...}"


class ListedVersion(Strict):
    version: int = Field(ge=0, le=VERSION_MAX)
    role: Literal["baseline", "ab"] = "baseline"
    label: Name | None = None
    traffic: float | None = Field(default=None, ge=0, le=100)
    shadow: float | None = Field(default=None, gt=0, le=100)

    def to_settings(self) -> VersionSettings:
        return VersionSettings(
            version=self.version, role=self.role, label=self.label, traffic=self.traffic, shadow=self.shadow
        )


def version_policy(value: Any) -> VersionPolicy:
    """The validator of the key: a policy, or a problem for each fault."""
    if isinstance(value, VersionPolicy):
        return value
    if isinstance(value, list):
        return _listed(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise problem(f"should be {_RIGHT}")
    ((key, choice),) = value.items()
    if key == "latest":
        if isinstance(choice, bool) or not isinstance(choice, int) or choice < 1:
            raise problem(f"latest should be a whole number of at least 1, not {given(choice)}")
        return VersionPolicy(kind="latest", latest=choice)
    if key == "all":
        if choice is not True:
            raise problem("all should be true; leave it out for the latest version only")
        return VersionPolicy(kind="all")
    near = difflib.get_close_matches(str(key), ("latest", "all"), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise problem(f"should be {_RIGHT}, not {given(key)}{hint}")


def _listed(entries: list[Any]) -> VersionPolicy:
    if not entries:
        raise problem("the list of versions is empty; list at least one, or use {latest: 1}")
    valid: dict[int, VersionSettings] = {}
    errors: list[InitErrorDetails] = []
    for index, entry in enumerate(entries):
        try:
            valid[index] = ListedVersion.model_validate(entry).to_settings()
        except ValidationError as error:
            errors += [_at((index, *item["loc"]), item) for item in error.errors()]
    errors += _repeated(valid, "version") + _repeated(valid, "label")
    errors += [
        _fault((index, "shadow"), f"version {entry.version} has traffic and shadow; a shadow's answers go to nobody")
        for index, entry in valid.items()
        if entry.shadow is not None and entry.traffic
    ]
    listed = tuple(valid.values())
    if len(listed) == len(entries):
        errors += _of_all(listed)
    if errors:
        raise ValidationError.from_exception_data("versions", errors)
    return VersionPolicy(kind="listed", listed=listed)


def _repeated(entries: dict[int, VersionSettings], key: str) -> list[InitErrorDetails]:
    """A fault for each entry whose value of this key an earlier one has."""
    seen = set()
    errors = []
    for index, entry in entries.items():
        value = getattr(entry, key)
        if value in seen:
            errors.append(_fault((index, key), f"{key} {value} is listed twice"))
        if value is not None:
            seen.add(value)
    return errors


def _of_all(listed: tuple[VersionSettings, ...]) -> list[InitErrorDetails]:
    errors = []
    if all(entry.shadow is not None for entry in listed):
        errors.append(_fault((), "every version is a shadow; one has to answer"))
    shares = [entry.traffic for entry in listed if entry.traffic is not None]
    if shares and abs(sum(shares) - 100) > 0.01:
        errors.append(_fault((), f"traffic of the versions should add up to 100, not {percent(sum(shares))}"))
    return errors


def _fault(location: tuple[int | str, ...], sentence: str) -> InitErrorDetails:
    return InitErrorDetails(type=problem(sentence), loc=location, input=None)


def _at(location: tuple[int | str, ...], item: Any) -> InitErrorDetails:
    """An error of one entry as an error of the list."""
    if item["type"] == "manifest":
        return _fault(location, item["msg"])
    return InitErrorDetails(type=item["type"], loc=location, input=item["input"], ctx=item.get("ctx", {}))
