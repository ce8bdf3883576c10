from collections.abc import Sequence

def peek_model_spec(request: bytes, depth: int = 0) -> tuple[bool, str, int | None, str | None, str] | None:
    """(present, name, version, version_label, signature_name) of a request's ModelSpec; None if malformed."""

# (alias, "operation:index", dtype, dims or None for an unknown rank)
_Slot = tuple[str, str, int, tuple[int, ...] | None]

class TensorFlowModel:
    """A SavedModel in TensorFlow's graph runtime, by its C API."""

    @staticmethod
    def load(library: str, folder: str, config: bytes, op_libraries: Sequence[str]) -> tuple[TensorFlowModel, bytes]:
        """The model and its serialized MetaGraphDef; RuntimeError says why there is none."""

    def add_signature(self, name: str, inputs: Sequence[_Slot], outputs: Sequence[_Slot]) -> bool:
        """Offers a signature; False if the graph lacks a tensor of it. Before the first `predict`."""

    def set_identity(self, model: str, version: int, tensor_bytes_max: int, response_bytes_max: int) -> None:
        """What responses say of themselves, and what a request and a response may take."""

    def predict(self, request: bytes) -> tuple[int, bytes, int]:
        """(0, response, 0), (1, b"", 0) for a request that does not fit, (2, message, code) for a failed run."""
