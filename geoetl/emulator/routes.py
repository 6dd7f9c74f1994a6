"""Where messages may be forwarded: to queues and topics that exist, and never in a circle."""

from collections.abc import Iterator

from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError
from geoetl.emulator.descriptions import QueueDescription
from geoetl.emulator.entities import Entities
from geoetl.emulator.topic import Topic


def check_forwarding(origin: str, name: str, description: QueueDescription, entities: Entities) -> None:
    """Lets the forwarding of a queue or subscription pass, or not.

    Args:
        origin: the key of the queue, or of the topic whose subscription it is: what must not be reached again.
        name: the queue or subscription, for the message.
        description: its settings.
        entities: all there are.

    Raises:
        ServiceBusError: a destination does not exist, or messages would come back.
    """
    for to in (description.forward_to, description.forward_dead_letters_to):
        if to is not None and entities.find(to) is None:
            raise ServiceBusError(
                ARGUMENT_ERROR, f"SubCode=40400. The auto forwarding destination entity '{to}' does not exist."
            )
    if description.forward_to is not None and origin in _reached_from(description.forward_to.lower(), entities):
        raise _circle(name, description.forward_to)
    if description.forward_dead_letters_to is not None and description.forward_dead_letters_to.lower() == origin:
        raise _circle(name, description.forward_dead_letters_to)


def _reached_from(start: str, entities: Entities) -> set[str]:
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        key = waiting.pop()
        if key not in reached:
            reached.add(key)
            waiting += [to.lower() for to in _next_stops(key, entities)]
    return reached


def _next_stops(key: str, entities: Entities) -> Iterator[str]:
    entity = entities.find(key)
    if entity is None:
        return
    for queue in entity.subscriptions.values() if isinstance(entity, Topic) else [entity]:
        if queue.forwards_to is not None:
            yield queue.forwards_to


def _circle(name: str, to: str) -> ServiceBusError:
    return ServiceBusError(
        ARGUMENT_ERROR, f"SubCode=40000. Bad Request. Forwarding from '{name}' to '{to}' would bring messages back."
    )
