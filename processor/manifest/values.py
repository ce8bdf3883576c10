"""What single values of a manifest may be: addresses, counts, names, paths. Validators raise a problem in words."""

import os
import pwd
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from corelane.processor.manifest.faults import given, problem
from corelane.processor.manifest.paths import expanded, form_problem, name_problem, path_problem, rest_problem, shown
from corelane.processor.manifest.settings import ListenSettings

_THREADS_MAX = 1024
_COUNT_MAX = 1 << 20  # of what a host has: cores, processes, connections


class Strict(BaseModel):
    """A mapping of a manifest: keys that it does not know are errors, and no type stands for another."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def _auto_or_count(value: Any) -> int | None:
    if value == "auto" or value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise problem(f"should be auto or a whole number of at least 1, not {given(value)}")
    if value > _COUNT_MAX:
        raise problem(f"should be at most {_COUNT_MAX}, not {given(value)}")
    return value


def thread_count(value: int | None) -> int | None:
    """Of threads or processes that are made at once."""
    if value is not None and value > _THREADS_MAX:
        raise problem(f"should be at most {_THREADS_MAX}, not {given(value)}")
    return value


def _address(value: Any) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise problem(f'should be an address such as "127.0.0.1:8500", not {given(value)}')
    return str(value)


def address_or_none(value: Any) -> str | None:
    return None if value in (None, "none") else _address(value)


def url_path_or_none(value: Any) -> str | None:
    if value in (None, "none"):
        return None
    if not isinstance(value, str) or not value.startswith("/"):
        raise problem(f"should be a path such as {ListenSettings().metrics_path}, or none, not {given(value)}")
    return value


def metadata_key(value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-z_.-]+", value) or value.endswith("-bin"):
        raise problem(f"should be a name of gRPC metadata, in small letters, such as user-id, not {given(value)}")
    return value


def user(value: Any) -> str | None:
    if value is None:
        return None
    try:
        pwd.getpwnam(value)
    except (KeyError, TypeError, ValueError):
        raise problem(f"there is no user {given(value)} on this host") from None
    if os.geteuid() != 0:
        raise problem("workers can only run as another user where the server runs as root")
    return str(value)


def web_address(value: str) -> str:
    if not re.match("https?://[^/]", value):
        raise problem(f"should be a URL such as http://host:4318/v1/traces, not {shown(value)}")
    return value


def _local(value: str) -> str:
    """With `~` and `${VARIABLE}` filled in."""
    if reason := form_problem(value):
        raise problem(reason)
    try:
        path = expanded(value)
    except ValueError as error:
        raise problem(str(error)) from None
    if reason := path_problem(path):
        raise problem(reason)
    return path


def _name(value: str) -> str:
    if reason := name_problem(value):
        raise problem(f"{shown(value)} cannot be a name: {reason}")
    return value


def model_name(value: str) -> str:
    if not value or "/" in value or any(character.isspace() or not character.isprintable() for character in value):
        raise problem(f"should be a name that a path can carry, not {shown(value)}: {rest_problem(value)}")
    return _name(value)


Name = Annotated[str, AfterValidator(_name)]
# A file or folder of this host.
LocalPath = Annotated[str, AfterValidator(_local)]

Address = Annotated[str, BeforeValidator(_address)]
AutoOrCount = Annotated[int | None, BeforeValidator(_auto_or_count)]
