"""Triton's extensions of the Open Inference Protocol by REST: what tools ask of models before and after they call them.

GET      /v2/models/NAME[/versions/V]/config
GET      /v2/models[/NAME[/versions/V]]/stats
GET|POST /v2[/models/NAME]/trace/setting, /v2/logging
"""

from collections.abc import MutableSequence
from typing import Any

from starlette.routing import Route

from corelane.processor.control.gateway_settings import TracesSettings
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.http.exchange import Exchanges, Question, Reply, json_reply
from corelane.processor.gateway.protocols import json_text, triton_settings
from corelane.processor.gateway.protocols.kserve import target_of
from corelane.processor.gateway.protocols.triton import ModelFacts
from corelane.processor.gateway.router import Router


class TritonApi:
    """Thread safety: its endpoints run on any thread."""

    def __init__(self, router: Router, facts: ModelFacts, traces: TracesSettings | None) -> None:
        """`traces` is `listen.traces`."""
        self._router = router
        self._facts = facts
        self._traces = traces

    def routes(self, exchanges: Exchanges) -> list[Route]:
        model = "/v2/models/{model}"
        version = f"{model}/versions/{{version}}"
        places = [
            *((f"{where}/config", ["GET"], self.configuration) for where in (model, version)),
            *((f"{where}/stats", ["GET"], self.statistics) for where in ("/v2/models", model, version)),
            *((f"{where}/trace/setting", ["GET", "POST"], self.trace_settings) for where in ("/v2", model)),
            ("/v2/logging", ["GET", "POST"], self.log_settings),
        ]
        return [Route(path, exchanges.endpoint(answer), methods=methods) for path, methods, answer in places]

    def configuration(self, question: Question) -> Reply:
        response = self._facts.configuration(question.path["model"], question.path.get("version", ""))
        return json_reply(_plain(response.config))

    def statistics(self, question: Question) -> Reply:
        response = self._facts.statistics(question.path.get("model", ""), question.path.get("version", ""))
        return json_reply(_plain(response))

    def trace_settings(self, question: Question) -> Reply:
        if "model" in question.path:
            self._router.choose(*target_of(question.path["model"], ""), None)
        changes = {name: _texts(name, value) for name, value in _document(question).items()}
        settings = triton_settings.trace_settings(self._traces, changes)
        return json_reply({name: list(values) if name in _LISTS else values[0] for name, values in settings.items()})

    def log_settings(self, question: Question) -> Reply:
        return json_reply(triton_settings.log_settings(_document(question)))


_LISTS = ("trace_level",)


def _document(question: Question) -> dict[str, Any]:
    return json_text.parse(question.body) if question.body else {}


def _texts(name: str, value: Any) -> list[str]:
    """A setting's values; none for null, which would clear it."""
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in values):
        raise InvalidRequest(f"trace setting '{name}' should be text, or a list of texts")
    return values


def _plain(message: Any) -> dict[str, Any]:
    """A message as JSON has it, by the names of its fields: numbers are numbers, whatever their size, enums are names,
    and messages that are not set are left out."""
    plain: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if isinstance(value, MutableSequence):
            plain[field.name] = [_value(field, item) for item in value]
        elif not field.has_presence or message.HasField(field.name):
            plain[field.name] = _value(field, value)
    return plain


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    return value if field.enum_type is None else field.enum_type.values_by_number[value].name
