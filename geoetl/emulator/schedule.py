"""Messages that wait for their time before a queue or topic takes them in."""

from collections.abc import Callable
from dataclasses import replace

from geoetl.emulator.conditions import MESSAGE_NOT_FOUND, ServiceBusError
from geoetl.emulator.deadlines import Deadlines
from geoetl.emulator.message import Message, State
from geoetl.emulator.message_log import MessageLog
from geoetl.emulator.timers import Alarm, Timers


class Schedule:
    """The scheduled messages of one queue or topic.

    Args:
        log: where its messages are.
        timers: who calls when their time has come.
        take_in: what becomes of a message then.
    """

    def __init__(self, log: MessageLog, timers: Timers, take_in: Callable[[Message], None]) -> None:
        self._log = log
        self._take_in = take_in
        self._due = Deadlines()
        self._count = 0
        self._alarm = Alarm(timers, self)

    def __len__(self) -> int:
        return self._count

    def hold(self, message: Message, due: float) -> None:
        """Keeps a message until its time."""
        message.state, message.due_at = State.SCHEDULED, due
        self._log.append(message)
        self._wait_for(message)

    def cancel(self, sequence_number: int) -> None:
        """Removes a message before its time.

        Raises:
            ServiceBusError: no scheduled message has this number.
        """
        message = self._log.get(sequence_number)
        if message is None or message.state is not State.SCHEDULED:
            raise ServiceBusError(MESSAGE_NOT_FOUND, f"No scheduled message has sequence number {sequence_number}.")
        self._count -= 1
        self._log.remove(message)

    def tick(self, now: float) -> None:
        """Takes in what is due."""
        self._alarm.clear()
        for number in self._due.pop_due(now):
            message = self._log.get(number)
            if message is not None:
                # Service Bus appends the message as if it were sent now, with a new sequence number.
                self._count -= 1
                self._log.remove(message)
                self._take_in(replace(message, state=State.ACTIVE, enqueued_at=now))
        self._alarm.set(self._due.next_due)

    def restore(self) -> None:
        """Finds the scheduled messages in a log that was restored."""
        for message in self._log:
            if message.state is State.SCHEDULED:
                self._wait_for(message)

    def _wait_for(self, message: Message) -> None:
        self._count += 1
        self._due.add(message.due_at, message.sequence_number)
        self._alarm.set(self._due.next_due)
