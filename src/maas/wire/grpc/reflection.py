"""`grpc.reflection.v1` and `v1alpha`: what tools ask to know the services and their messages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from maas.protos import message, parse, pool
from maas.wire.grpc.rpc import Rpc, Rpcs, Stream

DIALECT = "grpc"
VERSIONS = ("v1", "v1alpha")
_NOT_FOUND, _INVALID, _UNIMPLEMENTED = 5, 3, 12


def service_name(version: str) -> str:
    """The service's full name in one of `VERSIONS`."""
    return f"grpc.reflection.{version}.ServerReflection"


def rpcs(services: Collection[str]) -> Rpcs:
    """The methods of both versions.

    Args:
        services: full names of the services here.
    """
    return {
        f"/{service_name(version)}/ServerReflectionInfo".encode("ascii"): Rpc(
            DIALECT, "reflection", streaming=_Reflection(version, services)
        )
        for version in VERSIONS
    }


class _Reflection:
    def __init__(self, version: str, services: Collection[str]):
        self._services = sorted(services)
        self._request = message(f"grpc.reflection.{version}.ServerReflectionRequest")
        self._response = message(f"grpc.reflection.{version}.ServerReflectionResponse")

    async def __call__(self, stream: Stream) -> None:
        while (data := await stream.next()) is not None:
            answer = self._answer(parse(self._request, data))
            await stream.send(answer.SerializeToString())

    def _answer(self, request: Any) -> Any:
        response = self._response(valid_host=request.host, original_request=request)
        asked = request.WhichOneof("message_request")
        if asked == "list_services":
            for name in self._services:
                response.list_services_response.service.add(name=name)
        elif asked in ("file_by_filename", "file_containing_symbol"):
            self._describe(response, asked, getattr(request, asked))
        elif asked is None:
            _refuse(response, _INVALID, "the request asks nothing")
        elif asked == "file_containing_extension":
            _refuse(response, _NOT_FOUND, "no message here has extensions")
        else:
            _refuse(response, _UNIMPLEMENTED, "no message here has extensions")
        return response

    def _describe(self, response: Any, asked: str, name: str) -> None:
        """Answers with a file and all that it imports."""
        try:
            file = (
                pool().FindFileByName(name)
                if asked == "file_by_filename"
                else pool().FindFileContainingSymbol(name)
            )
        except KeyError:
            _refuse(response, _NOT_FOUND, f"nothing here is called {name[:80]!r}")
            return
        found: dict[str, bytes] = {}
        _gather(file, found)
        response.file_descriptor_response.file_descriptor_proto.extend(found.values())


def _gather(file: Any, found: dict[str, bytes]) -> None:
    if file.name in found:
        return
    # The file that was asked for comes first, as in other servers.
    found[file.name] = file.serialized_pb
    for dependency in file.dependencies:
        _gather(dependency, found)


def _refuse(response: Any, code: int, sentence: str) -> None:
    response.error_response.error_code = code
    response.error_response.error_message = sentence
