"""The administration API over HTTP: create, read, change, delete and list entities.

https://learn.microsoft.com/rest/api/servicebus/
"""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from geoetl.emulator.admin_subscriptions import SubscriptionPath, SubscriptionsApi
from geoetl.emulator.atom import error_document, feed, local_name, parse_entry
from geoetl.emulator.atom_entities import QUEUE, TOPIC, entity_entry, namespace_entry, parse_properties
from geoetl.emulator.broker import Broker
from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_FOUND, NOT_IMPLEMENTED, UNAUTHORIZED, ServiceBusError
from geoetl.emulator.http_connection import HttpRequest, HttpResponse

_MAX_PAGE: Final = 100


class AdminApi:
    """Answers administration requests.

    Args:
        broker: what is administered.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._namespace = broker.namespace
        self._subscriptions = SubscriptionsApi(broker.namespace)

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
        if not (policy.is_jwt_accepted and token.startswith("Bearer ")):
            # One policy exists, so its signature for any resource is that of an administrator, who may also forward to
            # any entity: the supplementary tokens for that tell nothing new.
            policy.verify(token, self._namespace.clock.now())
        if not policy.can_manage:
            raise ServiceBusError(
                UNAUTHORIZED,
                f"SubCode=40100. Unauthorized: 'Manage,EntityRead' claims are required for '{request.path}', which "
                f"'{policy.name}' does not have.",
            )

    def _route(self, request: HttpRequest) -> tuple[HTTPStatus, str]:
        name = request.path.lower()
        if name.startswith("$resources/"):
            return HTTPStatus.OK, self._list(name.removeprefix("$resources/"), request)
        if name == "$namespaceinfo":
            return HTTPStatus.OK, namespace_entry("emulator", self._namespace.created_at)
        path = SubscriptionPath.parse(request.path)
        is_list = path is not None and path.is_list
        match request.method:
            case "GET" if path is not None and is_list:
                return HTTPStatus.OK, _page(request, self._subscriptions.entries(path), str)
            case "GET":
                return HTTPStatus.OK, self._get(request, path)
            case "PUT" if not is_list:
                is_update = "if-match" in request.headers
                return HTTPStatus.OK if is_update else HTTPStatus.CREATED, self._put(request, path, is_update=is_update)
            case "DELETE" if not is_list:
                if path is None:
                    self._namespace.delete(request.path)
                else:
                    self._subscriptions.delete(path)
                return HTTPStatus.OK, ""
            case _:
                raise ServiceBusError(ARGUMENT_ERROR, f"Method {request.method} is not known here.")

    def _put(self, request: HttpRequest, path: SubscriptionPath | None, *, is_update: bool) -> str:
        described = parse_entry(request.body)
        kind = local_name(described.tag)
        if path is not None:
            return self._subscriptions.put(path, described, is_update=is_update)
        if kind not in (QUEUE, TOPIC):
            raise ServiceBusError(NOT_IMPLEMENTED, f"This emulator knows {QUEUE} and {TOPIC} here, not {kind}.")
        namespace, properties = self._namespace, parse_properties(described)
        if kind == QUEUE:
            queue = (namespace.update if is_update else namespace.create)(request.path, properties)
            return entity_entry(queue)
        topic = (namespace.update_topic if is_update else namespace.create_topic)(request.path, properties)
        return entity_entry(topic)

    def _get(self, request: HttpRequest, path: SubscriptionPath | None) -> str:
        try:
            if path is not None:
                return self._subscriptions.get(path)
            entity = self._namespace.entities.find(request.path)
        except ServiceBusError as error:
            if error.condition != NOT_FOUND:
                raise
            entity = None
        if entity is None:
            # Service Bus answers with an empty feed, which its clients take for "not found".
            return feed(request.path, [], own_link=request.path)
        return entity_entry(entity)

    def _list(self, kind: str, request: HttpRequest) -> str:
        entities = self._namespace.entities
        if kind == "queues":
            return _page(request, entities.queues(), entity_entry)
        if kind == "topics":
            return _page(request, entities.topics(), entity_entry)
        raise ServiceBusError(ARGUMENT_ERROR, f"Queues and topics can be listed, not '{kind}'.")


def _page[T](request: HttpRequest, found: Iterable[T], entry: Callable[[T], str]) -> str:
    skip, top = _number(request, "$skip", 0), _number(request, "$top", _MAX_PAGE)
    everything, end = list(found), skip + min(top, _MAX_PAGE)
    next_link = f"{request.path}?$skip={end}&$top={top}" if end < len(everything) else None
    return feed(request.path, map(entry, everything[skip:end]), own_link=request.path, next_link=next_link)


def _number(request: HttpRequest, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdecimal():
        raise ServiceBusError(ARGUMENT_ERROR, f"{name} must be a whole number, got '{text}'.")
    return int(text)
