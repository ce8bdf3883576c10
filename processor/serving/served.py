"""Which signature a request means, and why one that its version has is not served."""

from collections.abc import Container, Mapping

from corelane.processor.errors import FailedPrecondition
from corelane.processor.wire.tensor_types import DEFAULT_SIGNATURE

# The key, beside "signature_def", under which a version's metadata has {name: reason} as JSON in a StringValue.
UNSERVED_SIGNATURES = "unserved_signatures"


def served_name(name: str, served: Container[str], unserved: Mapping[str, str]) -> str:
    """The name of the signature that a request with this one means. FailedPrecondition, with the reason if there is
    one, if it is not served."""
    name = name or DEFAULT_SIGNATURE
    check_served(name, unserved)
    if name not in served:
        raise FailedPrecondition(f'Serving signature key "{name}" not found.')
    return name


def check_served(name: str, unserved: Mapping[str, str]) -> None:
    """FailedPrecondition for a signature that the version has and cannot serve."""
    name = name or DEFAULT_SIGNATURE
    if name in unserved:
        raise FailedPrecondition(f'Serving signature key "{name}" cannot be served: {unserved[name]}')
