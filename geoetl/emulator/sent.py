"""What clients send to a queue or topic: single messages and batches."""

from typing import Final

from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError
from geoetl.emulator.message import Message, parse_batch, parse_message

#: The message format of a batch: its data sections are whole encoded messages.
BATCH_FORMAT: Final = 0x80013700


def read_sent(data: bytes, message_format: int = 0) -> list[Message]:
    """The messages a client sent as one, all fit to be accepted.

    Raises:
        ServiceBusError: one is malformed or has no time to live; then none may be accepted.
    """
    messages = parse_batch(data) if message_format == BATCH_FORMAT else [parse_message(data)]
    if any(message.ttl_ms == 0 for message in messages):
        # As https://github.com/Azure/azure-sdk-for-python/pull/21869 quotes the service.
        raise ServiceBusError(
            ARGUMENT_ERROR, "Argument TimeToLive must be a positive timeout value. The provided value was 00:00:00."
        )
    return messages
