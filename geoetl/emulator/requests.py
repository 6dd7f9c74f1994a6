"""Requests and answers over a pair of links, as `$cbs` and `$management` use them."""

from abc import abstractmethod
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from geoetl.emulator.amqp_types import Int, Symbol
from geoetl.emulator.conditions import DECODE_ERROR, INVALID_FIELD, NOT_FOUND, ServiceBusError
from geoetl.emulator.decode import DecodeError
from geoetl.emulator.encode import encode, encode_described
from geoetl.emulator.links import IncomingLink
from geoetl.emulator.message import AMQP_VALUE, APPLICATION_PROPERTIES, PROPERTIES, parse_message


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks a node."""

    message_id: Any
    reply_to: str | None
    properties: dict[Any, Any]
    value: Any

    def text(self, name: str) -> str:
        """An application property that must be a string.

        Raises:
            ServiceBusError: it is missing or not a string.
        """
        value = self.properties.get(name)
        if not isinstance(value, str):
            raise ServiceBusError(INVALID_FIELD, f"The request needs the application property '{name}'.")
        return value


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says: a status, and a body when it has one."""

    status: HTTPStatus
    description: str
    value: Any = None
    condition: str | None = None


class RequestLink(IncomingLink):
    """A link on which a client sends requests. Subclasses say what they do and how the status is called."""

    status_name: str
    description_name: str
    condition_name: str

    @abstractmethod
    def handle_request(self, request: Request) -> Answer:
        """Does what is asked.

        Raises:
            ServiceBusError: it cannot; the client gets it as an answer.
        """

    def receive(self, message_format: int, payload: bytes) -> None:  # noqa: ARG002 - requests have one format
        request = self._read(payload)
        try:
            answer = self.handle_request(request)
        except ServiceBusError as error:
            answer = Answer(error.status, error.description, condition=error.condition)
        link = self.session.reply_link(self.address, request.reply_to)
        if link is None:
            raise ServiceBusError(NOT_FOUND, f"No link receives the answers of '{self.address}'.")
        link.answer(self._encode(request, answer))

    def _read(self, payload: bytes) -> Request:
        message = parse_message(payload)
        properties = message.read_properties()
        try:
            value = message.read_value()
        except DecodeError as error:
            raise ServiceBusError(DECODE_ERROR, f"The request cannot be read: {error}") from error
        reply_to = properties[4] if isinstance(properties[4], str) else None
        return Request(properties[0], reply_to, message.read_application_properties(), value)

    def _encode(self, request: Request, answer: Answer) -> bytes:
        properties: dict[str, Any] = {
            self.status_name: Int(answer.status),
            self.description_name: answer.description,
        }
        if answer.condition is not None:
            properties[self.condition_name] = Symbol(answer.condition)
        return b"".join(
            (
                encode_described(PROPERTIES, [None, None, None, None, None, request.message_id]),
                b"\x00\x53" + bytes((APPLICATION_PROPERTIES,)) + encode(properties),
                b"\x00\x53" + bytes((AMQP_VALUE,)) + encode(answer.value),
            )
        )
