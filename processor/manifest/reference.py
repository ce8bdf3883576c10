"""`python -m corelane.processor.manifest.reference` prints the table of the manifest's keys in docs/manifest.md."""

from typing import Any

from pydantic import BaseModel

from corelane.processor.manifest import schema

_SECTIONS: dict[str, type[BaseModel]] = {
    "listen.": schema.Listen,
    "listen.traces.": schema.Traces,
    "listen.tls.": schema.Tls,
    "listen.auth.": schema.Auth,
    "listen.auth.jwt.": schema.Jwt,
    "listen.limits.": schema.Limits,
    "host.": schema.Host,
    "models[].": schema.Model,
    "models[].max_divergence.": schema.MaxDivergence,
    "models[].queue.": schema.Queue,
    "models[].batching.": schema.Batching,
    "models[].request_log.": schema.RequestLog,
}
_AUTO = {"connections_max", "cores", "reserved_cores", "gateways", "sessions"}


def table() -> str:
    """A row for each key: its default and its meaning."""
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for prefix, model in _SECTIONS.items():
        for name, field in model.model_fields.items():
            if field.description is not None:
                lines.append(f"| `{prefix}{name}` | {_default(name, field)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str, field: Any) -> str:
    if field.is_required():
        return "required"
    if name == "versions":
        return "`{latest: 1}`"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "see below"
    if value is None:
        return "`auto`" if name in _AUTO else "none"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    print(table())
