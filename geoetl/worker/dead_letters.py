"""The dead letters of our queues, as the engine wants to hear of them."""

from collections.abc import Callable, Collection
from functools import cached_property

from azure.core.exceptions import AzureError
from celery.utils.log import get_logger

from geoetl.config.broker import BrokerSettings
from geoetl.engine.dead_letters import DeadLetter
from geoetl.telemetry import redact
from geoetl.transport.clients import Clients
from geoetl.transport.dead_letters import MessageInfo, Messages
from geoetl.worker.broker import service_bus

log = get_logger(__name__)

#: Dead letters that are looked at in one go.
_LIMIT = 2000
#: Whoever asks leads the relay, and must not be held up by a broker that is away.
_CONNECT_S = 2.0


class BrokerDeadLetters:
    """Asks through the transport; needs the right to Listen, and opens nothing before it is asked."""

    def __init__(self, broker: BrokerSettings) -> None:
        self._broker = broker
        self._foreign: dict[str, int] = {}

    def settle(
        self, queue: str, *, known: Callable[[Collection[str]], Collection[str]], handle: Callable[[DeadLetter], None]
    ) -> int:
        """Hand over the dead letters of known tasks; how many. 0 where the broker is away or refuses."""

        def hand_over(info: MessageInfo) -> None:
            handle(
                DeadLetter(
                    task_id=info.id,
                    queue=queue,
                    reason=info.reason,
                    description=redact(info.description),
                    deliveries=info.delivery_count,
                )
            )

        try:
            self._clients.check_reachable(timeout_s=_CONNECT_S)
            done = Messages(self._clients).settle(queue, known=known, handle=hand_over, limit=_LIMIT)
        except (AzureError, OSError) as exc:  # a queue that does not exist yet is among them
            log.info("dead letters not looked at queue=%s: %r", queue, exc)
            return 0
        if done.left != self._foreign.get(queue, 0):
            log.warning("dead letters of tasks that nobody knows are left alone queue=%s count=%s", queue, done.left)
            self._foreign[queue] = done.left
        return done.settled

    @cached_property
    def _clients(self) -> Clients:
        return service_bus(self._broker)
