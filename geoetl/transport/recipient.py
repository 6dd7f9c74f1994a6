"""One consumer of kombu's, to whom messages are addressed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoetl.transport.links import ReceiveLink

if TYPE_CHECKING:
    from geoetl.transport.channel import Channel


@dataclass(slots=True, eq=False)
class Recipient:
    """What a link receives is for its own consumer.

    kombu keeps one callback for each queue of a connection, that of the last consumer: with two of them, a message
    would be acknowledged on a channel that does not hold it.
    """

    channel: "Channel"
    queue: str
    callback: Callable[[dict[str, Any]], Any]
    #: None while it is made, and where there is nothing to receive from.
    link: ReceiveLink | None = None
    is_cancelled: bool = False
