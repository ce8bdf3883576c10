"""gRPC's server reflection: what `grpcurl describe` asks, for every symbol that the served files define."""

from collections.abc import Iterable, Iterator
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from corelane.processor.gateway.grpc.streams import Streams
from corelane.processor.wire.messages import POOL

SERVICE = reflection.SERVICE_NAME


class Reflection(reflection.ReflectionServicer):  # type: ignore[misc]
    """Protobuf's pool finds messages and services by name, but no methods, fields or values of enums; grpcurl describes
    those, too. Thread safety: its methods run on any thread."""

    def __init__(self, services: Iterable[str]) -> None:
        """`services` are in `corelane.processor.wire.messages.POOL`, with the files that they use."""
        super().__init__(services, pool=POOL)
        self._files: dict[str, Any] = {}  # by symbol
        seen: set[str] = set()
        for name in self._service_names:
            self._add(POOL.FindServiceByName(name).file, seen)

    def handlers(self, streams: Streams) -> dict[str, grpc.RpcMethodHandler]:
        """The service's method, whose calls are `streams`."""
        method = grpc.stream_stream_rpc_method_handler(
            streams.bounded(self.ServerReflectionInfo),
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return {"ServerReflectionInfo": method}

    def _add(self, file: Any, seen: set[str]) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        definition = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(definition)
        for symbol in symbols_of(definition):
            self._files.setdefault(symbol, file)
        for dependency in file.dependencies:
            self._add(dependency, seen)

    def _file_containing_symbol(self, request: Any, fully_qualified_name: str) -> Any:
        file = self._files.get(fully_qualified_name.removeprefix("."))
        if file is None:
            return super()._file_containing_symbol(request, fully_qualified_name)
        return self._file_by_filename(request, file.name)


def symbols_of(file: Any) -> Iterator[str]:
    """The full names of all that a FileDescriptorProto defines."""

    def enums(scope: str, definitions: Any) -> Iterator[str]:
        for definition in definitions:
            yield scope + definition.name
            for value in definition.value:
                # A value's scope is that of its enum; tools also name it within the enum.
                yield scope + value.name
                yield f"{scope}{definition.name}.{value.name}"

    def types(scope: str, definitions: Any) -> Iterator[str]:
        for definition in definitions:
            yield scope + definition.name
            inner = f"{scope}{definition.name}."
            for items in (definition.field, definition.oneof_decl, definition.extension):
                for item in items:
                    yield inner + item.name
            yield from enums(inner, definition.enum_type)
            yield from types(inner, definition.nested_type)

    scope = f"{file.package}." if file.package else ""
    yield from types(scope, file.message_type)
    yield from enums(scope, file.enum_type)
    for extension in file.extension:
        yield scope + extension.name
    for service in file.service:
        yield scope + service.name
        for method in service.method:
            yield f"{scope}{service.name}.{method.name}"


__all__ = ["SERVICE", "Reflection", "symbols_of"]
