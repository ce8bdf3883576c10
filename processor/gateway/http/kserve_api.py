"""KServe's Open Inference Protocol by REST: JSON, and the extension that puts tensors behind it in binary.

GET  /v2, /v2/health/live, /v2/health/ready
GET  /v2/models/NAME[/versions/V][/ready]
POST /v2/models/NAME[/versions/V]/infer
POST /v2/repository/index, /v2/repository/models/NAME/load, /v2/repository/models/NAME/unload
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from google.protobuf import json_format
from starlette.routing import Route

from corelane.processor.channel.methods import Entry, Method
from corelane.processor.control.questions import LoadQuestion, UnloadQuestion
from corelane.processor.errors import InvalidRequest
from corelane.processor.gateway.asking import Ask
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.http.exchange import Exchanges, Question, Reply, json_reply, naming_version, recorded
from corelane.processor.gateway.protocols import json_tensors, json_text, kserve
from corelane.processor.gateway.records.call_records import CallRecords
from corelane.processor.gateway.router import Router
from corelane.processor.gateway.signatures import Signatures
from corelane.processor.version import VERSION
from corelane.processor.wire import kserve_tensors, messages
from corelane.processor.wire.kserve_parameters import check_parameters, set_parameter
from corelane.processor.wire.tensor_types import NUMPY_TYPES

_SIZE = "binary_data_size"
_HEADER_LENGTH = "inference-header-content-length"
_DIGITS_MAX = 18  # of a length in bytes
_DTYPES = {datatype: dtype for dtype, datatype in kserve_tensors.DATATYPES.items()}


class KServeApi:
    """Thread safety: its endpoints run on any thread."""

    def __init__(
        self, router: Router, signatures: Signatures, records: CallRecords, ask: Ask, unready: Callable[[], str]
    ) -> None:
        self._router = router
        self._records = records
        self._signatures = signatures
        self._ask = ask
        self._unready = unready

    def routes(self, exchanges: Exchanges) -> list[Route]:
        def route(path: str, method: str, answer: Callable[[Question], Reply], **how: bool) -> Route:
            return Route(path, exchanges.endpoint(answer, **how), methods=[method])

        found = [
            route("/v2", "GET", self.server_metadata),
            route("/v2/health/live", "GET", lambda question: Reply(), is_open=True),
            route("/v2/health/ready", "GET", lambda question: _ready(self._unready()), is_open=True),
            route("/v2/repository/index", "POST", self.index),
            route("/v2/repository/models/{model}/load", "POST", self.load, manages=True),
            route("/v2/repository/models/{model}/unload", "POST", self.unload, manages=True),
        ]
        for where in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
            found.append(route(where, "GET", self.model_metadata))
            found.append(route(f"{where}/ready", "GET", self.model_ready, is_open=True))
            found.append(route(f"{where}/infer", "POST", self.infer))
        return found

    def server_metadata(self, question: Question) -> Reply:
        return json_reply({"name": kserve.SERVER_NAME, "version": VERSION, "extensions": list(kserve.EXTENSIONS)})

    def model_metadata(self, question: Question) -> Reply:
        name, version = question.path["model"], question.path.get("version", "")
        found = kserve.model_metadata(self._router, self._signatures, name, version)
        tensors = {
            kind: [
                {"name": one.name, "datatype": one.datatype, "shape": list(one.shape)} for one in getattr(found, kind)
            ]
            for kind in ("inputs", "outputs")
        }
        about = {"name": found.name, "versions": list(found.versions), "platform": found.platform}
        return json_reply({**about, **tensors})

    def model_ready(self, question: Question) -> Reply:
        name, version = question.path["model"], question.path.get("version", "")
        return _ready(kserve.unready(self._router, name, version))

    def index(self, question: Question) -> Reply:
        wanted = json_text.parse(question.body) if question.body else {}
        found = kserve.repository_index(self._router, wanted.get("ready") is True)
        return json_reply([json_format.MessageToDict(one) for one in found.models])

    def load(self, question: Question) -> Reply:
        document = json_text.parse(question.body) if question.body else {}
        if document.get("parameters"):
            raise InvalidRequest("loads with parameters are not offered; the manifest configures models")
        self._ask(LoadQuestion(model=question.path["model"]))
        return json_reply({})

    def unload(self, question: Question) -> Reply:
        self._ask(UnloadQuestion(model=question.path["model"]))
        return json_reply({})

    def infer(self, question: Question) -> Reply:
        text, binary = _parts(question)
        document = json_text.parse(text)
        model, version, label = kserve.target_of(question.path["model"], question.path.get("version", ""))
        key_name = self._router.sticky_key(model)
        request = _request(document, binary)
        request.model_name, request.model_version = model, question.path.get("version", "")
        call = Call(
            method=Method.INFER,
            model=model,
            version=version,
            label=label,
            request=request.SerializeToString(),
            deadline_ns=question.deadline_ns,
            cancellation=question.cancellation,
            entry=Entry.REST,
            key=None if key_name is None else question.headers.get(key_name),
        )
        answer = recorded(self._records, question, call, lambda: self._router.call(call))
        response = messages.ModelInferResponse.FromString(answer)
        return naming_version(_reply(response, document), response.model_version)


def _ready(problem: str) -> Reply:
    return json_reply({"error": problem}, 400) if problem else Reply()


def _parts(question: Question) -> tuple[bytes, bytes]:
    """The JSON of a body, and the binary data behind it."""
    length = question.headers.get(_HEADER_LENGTH)
    if length is None:
        return question.body, b""
    if not length.isdecimal() or len(length) > _DIGITS_MAX or int(length) > len(question.body):
        raise InvalidRequest(f"Inference-Header-Content-Length is {length}; the body has {len(question.body)} bytes")
    return question.body[: int(length)], question.body[int(length) :]


def _request(document: dict[str, Any], binary: bytes) -> Any:
    """A ModelInferRequest, all raw, from a request's JSON and what follows it."""
    request = messages.ModelInferRequest(id=_text(document, "id", ""))
    _copy_parameters("the request", document, request.parameters)
    position = 0
    for tensor in _objects(document, "inputs"):
        name, datatype, shape = _text(tensor, "name"), _text(tensor, "datatype"), _shape(tensor)
        size = _object(tensor, "parameters").get(_SIZE)
        target = request.inputs.add(name=name, datatype=datatype, shape=shape)
        _copy_parameters(f"input '{name}'", tensor, target.parameters, apart=_SIZE)
        check_parameters(request)
        if size is None:
            array = _from_json(name, datatype, shape, tensor)
            raw = kserve_tensors.to_raw(array)
        else:
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(binary) - position:
                raise InvalidRequest(
                    f"input '{name}' has a binary_data_size of {size}; the body has {len(binary) - position} more bytes"
                )
            raw = binary[position : position + size]
            position += size
        request.raw_input_contents.append(raw)
    if position != len(binary):
        raise InvalidRequest(f"the body has {len(binary) - position} bytes behind its last tensor")
    for output in _objects(document, "outputs", required=False):
        name = _text(output, "name")
        target = request.outputs.add(name=name)
        _copy_parameters(f"output '{name}'", output, target.parameters)
    check_parameters(request)
    return request


def _copy_parameters(holder: str, source: dict[str, Any], target: Any, apart: str = "") -> None:
    """Those of a JSON object, but for the one that ends here."""
    for key, value in _object(source, "parameters").items():
        if key != apart and not set_parameter(target[key], value):
            raise InvalidRequest(f"parameter '{key}' of {holder} should be text, a number or a boolean")


def _from_json(name: str, datatype: str, shape: list[int], tensor: dict[str, Any]) -> np.ndarray:
    """A tensor from its "data", flat or nested."""
    kserve_tensors.dtype_of(datatype, name)
    if "data" not in tensor:
        raise InvalidRequest(f"input '{name}' has neither data nor a binary_data_size")
    try:
        array = json_tensors.to_array(tensor["data"], _DTYPES[datatype])
    except InvalidRequest as error:
        raise InvalidRequest(f"input '{name}': {error}") from None
    if array.size != math.prod(shape) or any(size < 0 for size in shape):
        raise InvalidRequest(f"input '{name}' has {array.size} elements; shape {shape} takes {math.prod(shape)}")
    return array.reshape(shape)


def _reply(response: Any, document: dict[str, Any]) -> Reply:
    """The response as the request wants it: each output in binary, or in JSON."""
    by_default = _object(document, "parameters").get("binary_data_output") is True
    wanted = {
        output["name"]: _object(output, "parameters").get("binary_data", by_default) is True
        for output in _objects(document, "outputs", required=False)
    }
    outputs, binary = [], []
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        described: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if wanted.get(tensor.name, by_default):
            described["parameters"] = {"binary_data_size": len(raw)}
            binary.append(raw)
        else:
            array = kserve_tensors.from_raw(tensor.name, tensor.datatype, tensor.shape, raw)
            described["data"] = _to_json(tensor.name, array)
        outputs.append(described)
    about = {"model_name": response.model_name, "model_version": response.model_version, "outputs": outputs}
    if response.id:
        about["id"] = response.id
    text = json_text.write(about)
    if not binary:
        return Reply(body=text)
    headers = {"content-type": "application/octet-stream", _HEADER_LENGTH: str(len(text))}
    return Reply(body=b"".join([text, *binary]), headers=headers)


def _to_json(name: str, array: np.ndarray) -> Any:
    if array.dtype.kind == "O":
        try:
            return [item.decode() for item in array.ravel().tolist()]
        except UnicodeDecodeError:
            raise InvalidRequest(f"output '{name}' is not text; ask for it with binary_data") from None
    if array.dtype == NUMPY_TYPES["DT_BFLOAT16"]:
        array = array.astype(np.float32)
    return np.ascontiguousarray(array.ravel())


def _text(holder: dict[str, Any], key: str, default: str | None = None) -> str:
    found = holder.get(key, default)
    if not isinstance(found, str):
        raise InvalidRequest(f"'{key}' should be text, not {json_text.shown(found)}")
    return found


def _object(holder: dict[str, Any], key: str) -> dict[str, Any]:
    found = holder.get(key, {})
    if not isinstance(found, dict):
        raise InvalidRequest(f"'{key}' should be an object, not {json_text.shown(found)}")
    return found


def _objects(holder: dict[str, Any], key: str, *, required: bool = True) -> list[dict[str, Any]]:
    found = holder.get(key, None if required else [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InvalidRequest(f"'{key}' should be a list of objects, not {json_text.shown(found)}")
    return found


def _shape(tensor: dict[str, Any]) -> list[int]:
    found = tensor.get("shape")
    if not isinstance(found, list) or not all(type(size) is int and abs(size) < 1 << 62 for size in found):
        raise InvalidRequest(f"'shape' should be a list of whole numbers, not {json_text.shown(found)}")
    return found
