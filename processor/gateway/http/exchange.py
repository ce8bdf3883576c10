"""One HTTP request and its response: the body within limits, the work on a thread, the client's going noticed."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from corelane.processor._native import Cancellation
from corelane.processor.channel.methods import Entry
from corelane.processor.errors import Cancelled, ModelNotFound, PermissionRefused, RequestError, TooLarge, Unavailable
from corelane.processor.gateway.access import Access
from corelane.processor.gateway.call import Call
from corelane.processor.gateway.http.compression import compress, decompress
from corelane.processor.gateway.protocols.json_text import write
from corelane.processor.gateway.records.call_records import REQUEST_ID, CallRecords, id_of
from corelane.processor.system.threads import ThreadPool
from corelane.processor.wire.status import http_code_of, message_of

JSON = "application/json"
MODEL_VERSION = "x-corelane-model-version"
_SPARE_THREADS = 2  # for beats

_Found = TypeVar("_Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request, its body as the client meant it."""

    path: dict[str, str]
    headers: Any
    body: bytes
    deadline_ns: int
    cancellation: Cancellation
    request_id: str = ""
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": JSON})


def naming_version(reply: Reply, version: int | str) -> Reply:
    """The reply to an inference, with the version that answered among its headers."""
    return replace(reply, headers={**reply.headers, MODEL_VERSION: str(version)})


def json_reply(value: Any, status: int = 200) -> Reply:
    return Reply(body=write(value), status=status)


class Exchanges:
    """Makes Starlette endpoints of functions from a Question to a Reply, which run on threads and may raise
    RequestErrors."""

    def __init__(self, access: Access, *, body_bytes_max: int, timeout_s: float, calls_max: int) -> None:
        self._access = access
        self._body_bytes_max = body_bytes_max
        self._timeout_ns = int(timeout_s * 1e9)
        self._calls_max = calls_max
        self._calls = 0
        self._threads = ThreadPool(calls_max + _SPARE_THREADS, "http")

    def submit(self, work: Callable[[], None]) -> None:
        """Does it on a thread of the calls; there is one for it, however many calls there are."""
        self._threads.submit(work)

    def endpoint(
        self, answer: Callable[[Question], Reply], *, manages: bool = False, is_open: bool = False
    ) -> Callable[[Request], Any]:
        """`manages`: it changes which models are served, for which a client needs to be a manager. `is_open`: it is
        for anybody, without a key and a limit."""

        async def handle(request: Request) -> Response:
            if manages and _is_from_another_site(request):
                return response_of(failure(PermissionRefused("a page of another site may not change what is served")))
            if is_open or self._access.is_open:
                return await self._handle(request, answer)
            peer = request.client.host if request.client else ""
            try:
                client = self._access.identify(request.headers.get, peer, manages=manages)
                self._access.admit(client)
            except RequestError as error:
                return response_of(failure(error))
            try:
                return await self._handle(request, answer)
            finally:
                self._access.leave(client)

        return handle

    async def _handle(self, request: Request, answer: Callable[[Question], Reply]) -> Response:
        deadline_ns = time.monotonic_ns() + self._timeout_ns
        try:
            body = await self._body(request)
        except RequestError as error:
            return response_of(failure(error))
        except ClientDisconnect:
            return response_of(failure(Cancelled("the client hung up before its request was whole")))
        question = Question(
            path=request.path_params,
            headers=request.headers,
            body=body,
            deadline_ns=deadline_ns,
            cancellation=Cancellation(),
            request_id=id_of(request.headers.get(REQUEST_ID)),
            peer=f"{request.client.host}:{request.client.port}" if request.client else "",
        )
        if self._calls >= self._calls_max:
            # Every thread is taken; to wait for one would be a queue without a bound. A request takes none until it is
            # whole: who sends one in halves holds up nobody.
            return response_of(failure(Unavailable(f"{self._calls} calls are under way")))
        self._calls += 1
        watch = asyncio.ensure_future(_watch(request, question.cancellation))
        try:
            reply = await asyncio.get_running_loop().run_in_executor(self._threads, self._answer, question, answer)
        finally:
            self._calls -= 1
            watch.cancel()
        return response_of(reply)

    def _answer(self, question: Question, answer: Callable[[Question], Reply]) -> Reply:
        try:
            codings = ",".join(question.headers.getlist("content-encoding"))
            question = replace(question, body=decompress(question.body, codings, self._body_bytes_max))
            reply = answer(question)
        except RequestError as error:
            reply = failure(error)
        reply = replace(reply, headers={**reply.headers, REQUEST_ID: question.request_id})
        body, encoding = compress(reply.body, ",".join(question.headers.getlist("accept-encoding")))
        if encoding is None:
            return reply
        headers = {**reply.headers, "content-encoding": encoding, "vary": "accept-encoding"}
        return replace(reply, body=body, headers=headers)

    async def _body(self, request: Request) -> bytes:
        """Read no further than the limit."""
        too_large = TooLarge(f"the body is over listen.message_bytes_max ({self._body_bytes_max} bytes)")
        announced = request.headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > self._body_bytes_max:
            raise too_large
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self._body_bytes_max:
                raise too_large
            parts.append(part)
        return b"".join(parts)


def again(attempt: Callable[[], _Found]) -> _Found:
    """What `attempt` returns. The version that it chose may be gone before it is called; then it tries once more."""
    try:
        return attempt()
    except ModelNotFound:
        return attempt()


def recorded(records: CallRecords, question: Question, call: Call, run: Callable[[], bytes]) -> bytes:
    """What `run` returns; writes down that it did."""
    started_s = time.perf_counter()
    raised: RequestError | None = None
    try:
        return run()
    except RequestError as error:
        raised = error
        raise
    finally:
        if records.is_on:
            headers = {**question.headers, REQUEST_ID: question.request_id}
            records.write(
                headers=headers.get,
                entry=Entry.REST,
                method=call.method,
                model=call.model,
                asked=call.version if call.label is None else call.label,
                peer=question.peer,
                started_s=started_s,
                error=raised,
            )


async def _watch(request: Request, cancellation: Cancellation) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        await asyncio.sleep(0)
    cancellation.cancel()


def failure(error: Exception) -> Reply:
    """The reply to a request that failed: every error leaves the gateway here."""
    return json_reply({"error": message_of(error)}, http_code_of(error))


def response_of(reply: Reply) -> Response:
    return Response(reply.body, reply.status, reply.headers)


def _is_from_another_site(request: Request) -> bool:
    """Whether a browser sends it for a page that this server did not give: it can without asking first, and reaches
    ports that listen on loopback."""
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("host")
