"""A subscription: a queue that its topic fills, with what its rules let pass."""

from collections.abc import Mapping
from typing import ClassVar

from geoetl.emulator.addresses import subscription_path
from geoetl.emulator.conditions import NOT_ALLOWED, ServiceBusError
from geoetl.emulator.descriptions import SUBSCRIPTION_DEFAULTS, QueueDescription
from geoetl.emulator.entity_context import EntityContext
from geoetl.emulator.filters import Facts
from geoetl.emulator.message import Message
from geoetl.emulator.queue import Queue
from geoetl.emulator.rules import Rule


class Subscription(Queue):
    """One subscription of a topic. Without rules it gets nothing.

    Args:
        topic: the path of its topic.
        title: what its creator called it.
        description: the settings.
        context: what it shares with other entities.
    """

    defaults: ClassVar[Mapping[str, str]] = SUBSCRIPTION_DEFAULTS

    def __init__(self, topic: str, title: str, description: QueueDescription, context: EntityContext) -> None:
        super().__init__(subscription_path(topic, title), description, context)
        self.topic = topic
        self.title = title
        #: By lower-case name.
        self.rules: dict[str, Rule] = {}

    def send(self, message: Message) -> int:
        """Refuses: only the topic fills a subscription.

        Raises:
            ServiceBusError: always.
        """
        raise ServiceBusError(NOT_ALLOWED, f"Messages cannot be sent to the subscription '{self.name}'.")

    def accept(self, message: Message) -> int:
        """Accepts a message of the topic. That is no use of the subscription: it may go idle and be deleted."""
        message.enqueued_at = self._clock.now()
        self._take_in(message)
        return message.sequence_number

    def offer(self, message: Message, facts: Facts, *, expires_at: float | None) -> None:
        """Takes a copy of a message of the topic, if a rule lets it pass.

        Args:
            message: the message.
            facts: what rules look at in it.
            expires_at: the latest time it may expire.
        """
        try:
            is_wanted = any(rule.matches(facts) for rule in self.rules.values())
        except ServiceBusError as error:
            # The properties cannot be read.
            if self.description.is_dead_lettering_unreadable:
                self.add_dead_letter(message, "FilterException", error.description)
            return
        if is_wanted:
            self.accept(message.copy(expires_at=expires_at))
