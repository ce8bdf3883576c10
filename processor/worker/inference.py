"""A worker's calls: request bytes to response bytes, on one engine."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from processor.engines import Engine
from processor.errors import InvalidRequest
from processor.methods import Method
from processor.served import UNSERVED_SIGNATURES, check_served
from processor.tensors import CLASSIFY_METHOD, REGRESS_METHOD, Signature
from processor.wire import inference, messages, tensors
from processor.wire.infer_parameters import check_parameters, signature_of
from processor.worker import examples, validation

_SIGNATURE_DEF = "signature_def"

# Hears the name of the signature that a call runs, as soon as it is known.
Ran = Callable[[str], None]


def _nobody(signature: str) -> None:
    return None


class Inference:
    """Thread safety: `handle` from every session thread at once, each with a session of its own."""

    def __init__(
        self, *, engine: Engine, model: str, version: int, message_bytes_max: int, tensor_content: bool = False
    ) -> None:
        self._engine = engine
        self._model = model
        self._version = version
        self._message_bytes_max = message_bytes_max
        self._tensor_content = tensor_content
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
        inputs = validation.decode_inputs(signature, request.inputs, self._message_bytes_max)
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
        inputs = validation.check_arrays(signature, inference.decode_inputs(request))
        response = messages.ModelInferResponse(model_name=self._model, model_version=str(self._version), id=request.id)
        inference.fill_response(response, self._engine.run(session, signature, inputs, outputs))
        return response

    def _classify(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.ClassificationRequest, payload)
        response = messages.ClassificationResponse()
        name = self._run_examples(session, request.model_spec, CLASSIFY_METHOD, request.input, response.result, ran)
        self._name(response.model_spec, name)
        return response

    def _regress(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.RegressionRequest, payload)
        response = messages.RegressionResponse()
        name = self._run_examples(session, request.model_spec, REGRESS_METHOD, request.input, response.result, ran)
        self._name(response.model_spec, name)
        return response

    def _multi_inference(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.MultiInferenceRequest, payload)
        if len({task.model_spec.name for task in request.tasks}) > 1:
            raise InvalidRequest("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        names = [task.model_spec.signature_name for task in request.tasks]
        response = messages.MultiInferenceResponse()
        for task in request.tasks:
            if names.count(task.model_spec.signature_name) > 1:
                raise InvalidRequest(f"Duplicate evaluation of signature: {task.model_spec.signature_name}")
            result = response.results.add()
            if task.method_name == CLASSIFY_METHOD:
                target = result.classification_result
            elif task.method_name == REGRESS_METHOD:
                target = result.regression_result
            else:
                raise InvalidRequest(f"Unsupported signature method_name: {task.method_name}")
            name = self._run_examples(session, task.model_spec, task.method_name, request.input, target, ran)
            self._name(result.model_spec, name)
        return response

    def _metadata(self, session: Any, payload: bytes, ran: Ran) -> Any:
        request = messages.parse(messages.GetModelMetadataRequest, payload)
        if not request.metadata_field:
            raise InvalidRequest("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise InvalidRequest(f"Metadata field {field} is not supported")
        definitions = messages.SignatureDefMap()
        for signature in self._engine.signatures().values():
            _describe(signature, definitions.signature_def[signature.name])
        response = messages.GetModelMetadataResponse()
        response.metadata[_SIGNATURE_DEF].Pack(definitions)
        if self._engine.unserved:
            reasons = messages.StringValue(value=json.dumps(dict(self._engine.unserved)))
            response.metadata[UNSERVED_SIGNATURES].Pack(reasons)
        self._name(response.model_spec, "")
        return response

    def _signature(self, name: str) -> Signature:
        return validation.find_signature(self._engine.signatures(), name, self._engine.unserved)

    def _run_examples(self, session: Any, spec: Any, method: str, rows: Any, result: Any, ran: Ran) -> str:
        check_served(spec.signature_name, self._engine.unserved)
        signature = examples.check_signature(self._engine.signatures(), spec.signature_name, method)
        ran(signature.name)
        serialized = examples.serialized_examples(rows)
        if method == CLASSIFY_METHOD:
            outputs, fill = examples.classification_outputs(signature), examples.fill_classifications
        else:
            outputs, fill = examples.regression_outputs(signature), examples.fill_regressions
        arrays = self._engine.run(session, signature, {"inputs": serialized}, outputs)
        fill(result, arrays, len(serialized))
        return signature.name

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
