"""Trace and log settings in Triton's words: clients read them; the manifest and the environment set them."""

from collections.abc import Mapping, Sequence

from corelane.processor import logs
from corelane.processor.control.gateway_settings import TracesSettings
from corelane.processor.errors import FixedSetting, InvalidRequest

LogSetting = bool | int | str


def trace_settings(traces: TracesSettings | None, changes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """As they are, `traces` being `listen.traces`. `changes` is what a client would have them be: no values leave a
    setting as it is. FixedSetting if one of them would change, InvalidRequest for a setting that there is not."""
    percent = traces.percent if traces is not None else 0
    settings: dict[str, tuple[str, ...]] = {
        "trace_file": ("",),
        "trace_level": ("TIMESTAMPS",) if traces is not None else ("OFF",),
        "trace_rate": (f"{100 / percent:g}" if percent else "0",),  # a trace of so many calls
        "trace_count": ("-1",),
        "log_frequency": ("0",),
        "trace_mode": ("opentelemetry",),
    }
    for name, values in changes.items():
        _check_known("trace", name, settings)
        if values and tuple(values) != settings[name]:
            raise FixedSetting(
                f"{name} stays {','.join(settings[name]) or 'empty'}: traces are set by listen.traces of the manifest, "
                "when the server starts"
            )
    return settings


def log_settings(changes: Mapping[str, LogSetting | None]) -> dict[str, LogSetting]:
    """As they are. `changes` is what a client would have them be; None leaves a setting as it is. FixedSetting if one
    of them would change, InvalidRequest for a setting that there is not or a value of another type."""
    settings: dict[str, LogSetting] = {
        "log_file": "",
        "log_info": True,
        "log_warning": True,
        "log_error": True,
        "log_verbose_level": 0,
        "log_format": "json" if logs.is_json() else "default",
    }
    for name, value in changes.items():
        _check_known("log", name, settings)
        now = settings[name]
        if value is None:
            continue
        if type(value) is not type(now):
            kind = {bool: "true or false", int: "a whole number", str: "text"}[type(now)]
            raise InvalidRequest(f"log setting '{name}' should be {kind}")
        if value != now:
            raise FixedSetting(
                f"{name} stays {_shown(now)}: the log goes to standard error, in the format of CORELANE_LOG_FORMAT, "
                "which is read when the server starts"
            )
    return settings


def _check_known(kind: str, name: str, settings: Mapping[str, object]) -> None:
    if name not in settings:
        raise InvalidRequest(f"there is no {kind} setting '{name}'; known: {', '.join(settings)}")


def _shown(value: LogSetting) -> str:
    return str(value).lower() if value != "" else "empty"
