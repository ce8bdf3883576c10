"""A worker's calls: request bytes to response bytes, on one engine."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from corelane.processor.channel.methods import Method
from corelane.processor.engines import Engine
from corelane.processor.errors import InvalidRequest, NotSupported
from corelane.processor.serving import examples, validation
from corelane.processor.serving.served import UNSERVED_SIGNATURES, check_served
from corelane.processor.wire import kserve_tensors, messages, tensors
from corelane.processor.wire.kserve_parameters import check_parameters, signature_of
from corelane.processor.wire.tensor_types import CLASSIFY_METHOD, DEFAULT_SIGNATURE, REGRESS_METHOD, Signature

_SIGNATURE_DEF = "signature_def"

# Hears the name of the signature that a call runs, as soon as it is known.
Ran = Callable[[str], None]


def _nobody(signature: str) -> None:
    return None


class Inference:
    """Thread safety: `handle` from every session thread at once, each with a session of its own."""

    def __init__(
        self,
        *,
        engine: Engine,
        model: str,
        version: int,
        message_bytes_max: int,
        tensor_content: bool = False,
        checks_method: bool = False,
    ) -> None:
        """`checks_method`: Classify and Regress take only signatures whose method says so."""
        self._engine = engine
        self._model = model
        self._version = version
        self._message_bytes_max = message_bytes_max
        self._tensor_content = tensor_content
        self._checks_method = checks_method
        self._handlers = {
            Method.PREDICT: self._predict,
            Method.CLASSIFY: self._classify,
            Method.REGRESS: self._regress,
            Method.MULTI_INFERENCE: self._multi_inference,
            Method.METADATA: self._metadata,
            Method.INFER: self._infer,
        }

    def handle(self, session: Any, method: Method, payload: bytes, ran: Ran = _nobody) -> bytes:
        """The response's bytes; a RequestError is the response otherwise."""
        response = self._handlers[method](session, payload, ran)
        data: bytes = response.SerializeToString()
        if len(data) > self._message_bytes_max:
            raise InvalidRequest(
                f"the response of {len(data)} bytes is over listen.message_bytes_max ({self._message_bytes_max})"
            )
        return data

    def _predict(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.PredictRequest, payload)
        signature = self._signature(request.model_spec.signature_name)
        ran(signature.name)
        outputs = validation.choose_outputs(signature, request.output_filter)
        inputs = validation.decode_inputs(
            signature, request.inputs, self._message_bytes_max, any_shape=self._engine.any_shape
        )
        arrays = self._engine.run(session, signature, inputs, outputs)
        response = messages.PredictResponse()
        for name, array in arrays.items():
            tensors.encode(array, response.outputs[name], as_content=self._tensor_content)
        self._name(response.model_spec, signature.name)
        return response

    def _infer(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.ModelInferRequest, payload)
        check_parameters(request)
        signature = self._signature(signature_of(request))
        ran(signature.name)
        outputs = validation.choose_outputs(signature, [output.name for output in request.outputs])
        inputs = validation.check_arrays(
            signature, kserve_tensors.decode_inputs(request), any_shape=self._engine.any_shape
        )
        response = messages.ModelInferResponse(model_name=self._model, model_version=str(self._version), id=request.id)
        kserve_tensors.fill_response(response, self._engine.run(session, signature, inputs, outputs))
        return response

    def _classify(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.ClassificationRequest, payload)
        response = messages.ClassificationResponse()
        signature = self._head(request.model_spec.signature_name, CLASSIFY_METHOD)
        self._run_examples(session, signature, CLASSIFY_METHOD, request.input, response.result, ran)
        self._name(response.model_spec, signature.name)
        return response

    def _regress(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.RegressionRequest, payload)
        response = messages.RegressionResponse()
        signature = self._head(request.model_spec.signature_name, REGRESS_METHOD)
        self._run_examples(session, signature, REGRESS_METHOD, request.input, response.result, ran)
        self._name(response.model_spec, signature.name)
        return response

    def _multi_inference(self, session: Any, payload: bytes, ran: Ran) -> Any:
        """All tasks are checked before one runs."""
        request = messages.parse(messages.MultiInferenceRequest, payload)
        tasks = [
            (task.method_name, signature) for task, signature in zip(request.tasks, self._heads(request), strict=True)
        ]
        response = messages.MultiInferenceResponse()
        for method, signature in tasks:
            result = response.results.add()
            is_classify = method == CLASSIFY_METHOD
            target = result.classification_result if is_classify else result.regression_result
            self._run_examples(session, signature, method, request.input, target, ran)
            self._name(result.model_spec, signature.name)
        return response

    def _heads(self, request: Any) -> list[Signature]:
        """The signature of each task."""
        heads: list[Signature] = []
        for task in request.tasks:
            spec, name = task.model_spec, task.model_spec.signature_name or DEFAULT_SIGNATURE
            if not spec.name:
                raise InvalidRequest("Found ModelSpec with an empty model name.")
            if spec.name != request.tasks[0].model_spec.name:
                raise InvalidRequest("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            if any(head.name == name for head in heads):
                raise InvalidRequest(f"Duplicate evaluation of signature: {name}")
            check_served(name, self._engine.unserved)
            if name not in self._engine.signatures():
                raise InvalidRequest(f"Requested signature not found in model graph: {name}")
            if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
                raise NotSupported(f"Unsupported signature method_name: {task.method_name}")
            heads.append(self._head(name, task.method_name))
        return heads

    def _head(self, name: str, method: str) -> Signature:
        """The signature that `name` means for Classify or Regress."""
        name = name or DEFAULT_SIGNATURE
        check_served(name, self._engine.unserved)
        signature = self._engine.signatures().get(name)
        if signature is None:
            raise InvalidRequest(f"No signature was found with the name: {name}")
        examples.check_signature(signature, method, checks_method=self._checks_method)
        return signature

    def _metadata(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.GetModelMetadataRequest, payload)
        if not request.metadata_field:
            raise InvalidRequest("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise InvalidRequest(f"Metadata field {field} is not supported")
        response = self.describe()
        self._name(response.model_spec, "")
        return response

    def describe(self) -> Any:
        """A GetModelMetadataResponse with the signatures that are served, and why others are not."""
        definitions = messages.SignatureDefMap()
        for signature in self._engine.signatures().values():
            _describe(signature, definitions.signature_def[signature.name])
        response = messages.GetModelMetadataResponse()
        response.metadata[_SIGNATURE_DEF].Pack(definitions)
        if self._engine.unserved:
            reasons = messages.StringValue(value=json.dumps(dict(self._engine.unserved)))
            response.metadata[UNSERVED_SIGNATURES].Pack(reasons)
        return response

    def _signature(self, name: str) -> Signature:
        return validation.find_signature(self._engine.signatures(), name, self._engine.unserved)

    def _run_examples(self, session: Any, signature: Signature, method: str, rows: Any, result: Any, ran: Ran) -> None:
        ran(signature.name)
        serialized = examples.serialized_examples(rows)
        inputs = validation.check_arrays(signature, {examples.INPUTS: serialized}, any_shape=self._engine.any_shape)
        fill = examples.fill_classifications if method == CLASSIFY_METHOD else examples.fill_regressions
        fill(
            result,
            self._engine.run(session, signature, inputs, examples.outputs_of(signature, method)),
            len(serialized),
        )

    def _name(self, spec: Any, signature: str) -> None:
        spec.name = self._model
        spec.version.value = self._version
        spec.signature_name = signature


def _describe(signature: Signature, definition: Any) -> None:
    definition.method_name = signature.method
    for specs, infos in ((signature.inputs, definition.inputs), (signature.outputs, definition.outputs)):
        for alias, spec in specs.items():
            info = infos[alias]
            info.name = spec.engine_name
            info.dtype = tensors.type_number(spec.dtype)
            if spec.shape is None:
                info.tensor_shape.unknown_rank = True
            else:
                info.tensor_shape.SetInParent()
                for size in spec.shape:
                    info.tensor_shape.dim.add(size=size)
    for alias, spec in signature.inputs.items():
        if spec.default is not None:
            tensors.encode(np.asarray(spec.default), definition.defaults[alias])
