"""As much of HTTP/1.1 as an administration client needs: requests with a length, answers, kept connections."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import parse_qsl, unquote, urlsplit

log = logging.getLogger(__name__)

_MAX_HEAD: Final = 64 * 1024
_MAX_BODY: Final = 1024 * 1024
#: How long a kept connection may stay silent, in seconds.
_IDLE_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. `path` is decoded, without slashes at its ends; header names are lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer."""

    status: HTTPStatus
    body: bytes = b""
    content_type: str = "application/xml; charset=utf-8"

    def encode(self, *, keep_alive: bool) -> bytes:
        head = (
            f"HTTP/1.1 {int(self.status)} {self.status.phrase}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n"
            f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
        )
        return head.encode() + self.body


class _BadRequest(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


type Handler = Callable[[HttpRequest], HttpResponse]


class HttpConnection(asyncio.Protocol):
    """One HTTP client.

    Args:
        handler: answers a request; it does not wait for anything.
    """

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._watch = self._loop.call_later(_IDLE_TIMEOUT_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("HTTP connection lost: %s", exc)
        if self._watch is not None:
            self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self._loop.call_later(_IDLE_TIMEOUT_S, self._transport.abort)
        try:
            while (request := self._read_request()) is not None:
                self._answer(request)
        except _BadRequest as error:
            self._transport.write(HttpResponse(error.status).encode(keep_alive=False))
            self._transport.close()

    def _answer(self, request: HttpRequest) -> None:
        keep_alive = request.headers.get("connection", "").lower() != "close"
        try:
            response = self._handler(request)
        except Exception:
            # The border to whatever a client may send: a defect of ours fails this request, not the server.
            log.exception("request failed", extra={"method": request.method, "path": request.path})
            response = HttpResponse(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._transport.write(response.encode(keep_alive=keep_alive))
        if not keep_alive:
            self._transport.close()

    def _read_request(self) -> HttpRequest | None:
        if self._transport.is_closing():
            return None
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD:
                raise _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return None
        method, target, headers = _parse_head(bytes(self._buffer[:end]))
        size = _body_size(headers)
        if len(self._buffer) < end + 4 + size:
            return None
        body = bytes(self._buffer[end + 4 : end + 4 + size])
        del self._buffer[: end + 4 + size]
        try:
            url = urlsplit(target)
        except ValueError:
            raise _BadRequest(HTTPStatus.BAD_REQUEST) from None
        return HttpRequest(method, unquote(url.path).strip("/"), dict(parse_qsl(url.query)), headers, body)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequest(HTTPStatus.BAD_REQUEST)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return parts[0], parts[1], headers


def _body_size(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise _BadRequest(HTTPStatus.LENGTH_REQUIRED)
    size = headers.get("content-length", "0")
    if not size.isascii() or not size.isdecimal():
        raise _BadRequest(HTTPStatus.BAD_REQUEST)
    if int(size) > _MAX_BODY:
        raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return int(size)
