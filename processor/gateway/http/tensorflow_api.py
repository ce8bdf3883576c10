"""TensorFlow Serving's REST API.

POST /v1/models/NAME[/versions/V | /labels/L]:predict | :classify | :regress
GET  /v1/models (TensorFlow Serving has none)
GET  /v1/models/NAME[/versions/V | /labels/L][/metadata]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf import json_format
from starlette.routing import Route

from corelane.processor.channel.methods import Assignment, Entry, Method
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.grpc import model_service
from corelane.processor.gateway.http.exchange import (
    Exchanges,
    Question,
    Reply,
    again,
    json_reply,
    naming_version,
    recorded,
)
from corelane.processor.gateway.protocols import json_examples, json_outputs, json_tensors, json_text
from corelane.processor.gateway.records.call_records import CallRecords
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.signatures import Signatures
from corelane.processor.serving.served import UNSERVED_SIGNATURES
from corelane.processor.wire import messages, tensors
from corelane.processor.wire.status import CODE_NAMES
from corelane.processor.wire.version_numbers import parse_version

_ANSWER_BYTES_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    model: str
    version: int | None
    label: str | None
    key: str | None


class TensorFlowApi:
    """Thread safety: its endpoints run on any thread."""

    def __init__(self, router: Router, signatures: Signatures, records: CallRecords) -> None:
        self._router = router
        self._records = records
        self._signatures = signatures

    def routes(self, exchanges: Exchanges) -> list[Route]:
        listing = exchanges.endpoint(self.models)
        found = [Route(path, listing, methods=["GET"]) for path in ("/v1/models", "/v1/models/")]
        for where in (
            "/v1/models/{model}",
            "/v1/models/{model}/versions/{version}",
            "/v1/models/{model}/labels/{label}",
        ):
            for verb, answer in (("predict", self.predict), ("classify", self.classify), ("regress", self.regress)):
                found.append(Route(f"{where}:{verb}", exchanges.endpoint(answer), methods=["POST"]))
            found.append(Route(f"{where}/metadata", exchanges.endpoint(self.metadata), methods=["GET"]))
            found.append(Route(where, exchanges.endpoint(self.status), methods=["GET"]))
        return found

    def predict(self, question: Question) -> Reply:
        document = json_text.parse(question.body)
        target = self._target(question)

        def attempt() -> tuple[str, bytes]:
            route, assignment, signatures = self._signatures.of(target.model, target.version, target.label, target.key)
            name, signature = signatures.find(_signature_name(document))
            dtypes = {alias: tensors.type_name(info.dtype) for alias, info in signature.inputs.items()}
            form, inputs = json_tensors.inputs_of(document, dtypes, signature.defaults)
            request = messages.PredictRequest()
            _fill_spec(request.model_spec, target.model, route.version, name)
            for alias, array in inputs.items():
                tensors.encode(array, request.inputs[alias], as_content=True)
            data = request.SerializeToString()
            return form, self._call(question, Method.PREDICT, target, data, route.version, assignment)

        form, answer = again(attempt)
        response = messages.PredictResponse.FromString(answer)
        arrays = {
            alias: tensors.decode(alias, proto, bytes_max=_ANSWER_BYTES_MAX)
            for alias, proto in sorted(response.outputs.items())
        }
        if form == json_tensors.ROWS:
            reply = json_reply({"predictions": json_outputs.outputs_as_rows(arrays)})
        else:
            reply = json_reply({"outputs": json_outputs.outputs_as_columns(arrays)})
        return naming_version(reply, response.model_spec.version.value)

    def classify(self, question: Question) -> Reply:
        answer = self._examples(question, Method.CLASSIFY, messages.ClassificationRequest())
        response = messages.ClassificationResponse.FromString(answer)
        reply = json_reply({"results": json_examples.classifications(response.result)})
        return naming_version(reply, response.model_spec.version.value)

    def regress(self, question: Question) -> Reply:
        answer = self._examples(question, Method.REGRESS, messages.RegressionRequest())
        response = messages.RegressionResponse.FromString(answer)
        reply = json_reply({"results": np.array(json_examples.regressions(response.result), np.float32)})
        return naming_version(reply, response.model_spec.version.value)

    def metadata(self, question: Question) -> Reply:
        target = self._target(question)
        route, _, found = self._signatures.of(target.model, target.version, target.label)
        definitions = messages.SignatureDefMap()
        for name, signature in found.served.items():
            definitions.signature_def[name].CopyFrom(signature)
        plain = json_format.MessageToDict(
            definitions,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
            descriptor_pool=messages.POOL,
        )
        spec = {"name": target.model, "signature_name": "", "version": str(route.version)}
        metadata: dict[str, Any] = {"signature_def": plain}
        if found.unserved:
            metadata[UNSERVED_SIGNATURES] = dict(found.unserved)
        return json_reply({"model_spec": spec, "metadata": metadata})

    def models(self, question: Question) -> Reply:
        listed = []
        for name, model in sorted(self._router.models().items()):
            response = model_service.states(model.versions)
            states = [_state(item) for item in response.model_version_status]
            listed.append({"name": name, "model_version_status": states, "problem": model.problem})
        return json_reply({"models": listed})

    def status(self, question: Question) -> Reply:
        target = self._target(question)
        request = messages.GetModelStatusRequest()
        _fill_spec(request.model_spec, target.model, target.version, "")
        if target.label is not None:
            request.model_spec.version_label = target.label
        found = model_service.status(self._router, request)
        return json_reply({"model_version_status": [_state(item) for item in found.model_version_status]})

    def _examples(self, question: Question, method: Method, request: Any) -> bytes:
        document = json_text.parse(question.body)
        target = self._target(question)
        _fill_spec(request.model_spec, target.model, target.version, _signature_name(document))
        json_examples.fill_input(document, request.input)
        return self._call(question, method, target, request.SerializeToString(), target.version, None)

    def _target(self, question: Question) -> _Target:
        model = question.path["model"]
        version, label = question.path.get("version"), question.path.get("label")
        key_name = self._router.sticky_key(model)
        return _Target(
            model=model,
            version=None if version is None else parse_version(version),
            label=label,
            key=None if key_name is None else question.headers.get(key_name),
        )

    def _call(
        self,
        question: Question,
        method: Method,
        target: _Target,
        data: bytes,
        version: int | None,
        assignment: Assignment | None,
    ) -> bytes:
        call = Call(
            method=method,
            model=target.model,
            version=version,
            label=target.label if version is None else None,
            request=data,
            deadline_ns=question.deadline_ns,
            cancellation=question.cancellation,
            entry=Entry.REST,
            key=target.key,
            assignment=assignment,
        )
        return recorded(self._records, question, call, lambda: self._router.call(call))


def _fill_spec(spec: Any, model: str, version: int | None, signature: str) -> None:
    spec.name = model
    spec.signature_name = signature
    if version is not None:
        spec.version.value = version


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise InvalidRequest(
            f"JSON Value: {json_text.shown(document)} not formatted correctly. "
            "'signature_name' key must be a string value."
        )
    return name


def _state(item: Any) -> dict[str, Any]:
    return {
        "version": str(item.version),
        "state": model_service.state_name(item.state),
        "status": {"error_code": CODE_NAMES[item.status.error_code], "error_message": item.status.error_message},
    }
