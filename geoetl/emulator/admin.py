"""The administration API over HTTP: create, read, change, delete and list queues.

https://learn.microsoft.com/rest/api/servicebus/
"""

from http import HTTPStatus
from typing import Final

from geoetl.emulator.atom import error_document, feed, namespace_entry, parse_queue_properties, queue_entry
from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_FOUND, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.http_connection import HttpRequest, HttpResponse

_PAGE: Final = 100
_SUBSCRIPTIONS: Final = "/subscriptions"


class AdminApi:
    """Answers administration requests.

    Args:
        broker: what is administered.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._namespace = broker.namespace

    def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request; refusals are answers too."""
        try:
            self._authorize(request)
            status, document = self._route(request)
        except ServiceBusError as error:
            status, document = error.status, error_document(error.status, error.description)
        self._namespace.journal.commit()
        return HttpResponse(status, document.encode())

    def _authorize(self, request: HttpRequest) -> None:
        headers = request.headers
        token = headers.get("servicebusauthorization") or headers.get("authorization", "")
        policy = self._broker.policy
        if policy.is_jwt_accepted and token.startswith("Bearer "):
            return
        # One policy with the Manage claim exists, so its signature for any resource is that of an administrator.
        policy.verify(token, self._namespace.clock.now())

    def _route(self, request: HttpRequest) -> tuple[HTTPStatus, str]:
        name = request.path.lower()
        if name.startswith("$resources/"):
            return self._list(name.removeprefix("$resources/"), request)
        if name == "$namespaceinfo":
            return HTTPStatus.OK, namespace_entry("emulator", self._namespace.created_at)
        if _SUBSCRIPTIONS in name:
            raise ServiceBusError(NOT_IMPLEMENTED, "This emulator does not support topics and subscriptions.")
        match request.method:
            case "PUT":
                return self._put(request)
            case "GET":
                return self._get(request.path)
            case "DELETE":
                self._namespace.delete(request.path)
                return HTTPStatus.OK, ""
            case _:
                raise ServiceBusError(ARGUMENT_ERROR, f"Method {request.method} is not known here.")

    def _put(self, request: HttpRequest) -> tuple[HTTPStatus, str]:
        properties = parse_queue_properties(request.body)
        if "if-match" in request.headers:
            return HTTPStatus.OK, queue_entry(self._namespace.update(request.path, properties))
        return HTTPStatus.CREATED, queue_entry(self._namespace.create(request.path, properties))

    def _get(self, name: str) -> tuple[HTTPStatus, str]:
        try:
            return HTTPStatus.OK, queue_entry(self._namespace.queue(name))
        except ServiceBusError as error:
            if error.condition != NOT_FOUND:
                raise
            # Service Bus answers with an empty feed, which its clients take for "not found".
            return HTTPStatus.OK, feed(name, [], own_link=name)

    def _list(self, kind: str, request: HttpRequest) -> tuple[HTTPStatus, str]:
        skip, top = _number(request, "$skip", 0), _number(request, "$top", _PAGE)
        if kind == "topics":
            return HTTPStatus.OK, feed("Topics", [], own_link=request.path)
        if kind != "queues":
            raise ServiceBusError(ARGUMENT_ERROR, f"Queues and topics can be listed, not '{kind}'.")
        queues, end = list(self._namespace), skip + min(top, _PAGE)
        next_link = f"{request.path}?$skip={end}&$top={top}" if end < len(queues) else None
        page = map(queue_entry, queues[skip:end])
        return HTTPStatus.OK, feed("Queues", page, own_link=request.path, next_link=next_link)


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdecimal():
        raise ServiceBusError(ARGUMENT_ERROR, f"{name} must be a whole number, got '{text}'.")
    return int(text)
