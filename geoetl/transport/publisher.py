"""Publishing that nobody waits for: worker events and replies to remote control."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from geoetl.transport.errors import TRANSIENT_SEND_ERRORS

logger = logging.getLogger(__name__)

#: Messages that wait while the service is slow or away; above this the oldest are dropped. About 1 KB each.
MAX_WAITING = 5000

#: Messages sent at once.
BATCH = 100

#: How long an event waits for company: sent one by one, events would cost a worker of short tasks half its rate.
LINGER_S = 0.1

#: Pause after a failed send.
RETRY_PAUSE_S = 1.0

#: How long the end of a process waits for the last messages: `worker-offline` among them.
FLUSH_TIMEOUT_S = 2.0


class Publisher[T]:
    """A bounded buffer and the thread that empties it, started with the first message.

    An event is worth little when late and nothing when its sender is held up by it, so `submit` never blocks and never
    fails. What is lost is counted and logged.
    """

    def __init__(self, send: Callable[[str, list[T]], None]) -> None:
        self._send = send
        self._waiting: deque[tuple[str, T]] = deque()
        self._changed = threading.Condition()
        #: Somebody waits for what is in the buffer.
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_sending = False
        self._is_stopping = False
        self._dropped = 0

    def submit(self, topic: str, message: T, *, is_awaited: bool = False) -> None:
        """Have a message sent after those submitted before: soon, or at once when somebody waits for it."""
        with self._changed:
            if is_awaited:
                self._hurry.set()
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._dropped += 1
            self._waiting.append((topic, message))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="servicebus-publish", daemon=True)
                self._thread.start()
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def flush(self, *, timeout_s: float = FLUSH_TIMEOUT_S) -> bool:
        """Wait until everything submitted is sent; whether it is."""
        self._hurry.set()
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._is_sending, timeout_s)

    def stop(self) -> None:
        """Send what is left, if that is soon done, and end the thread."""
        self.flush()
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            topic, messages = batch
            try:
                self._send(topic, messages)
            except TRANSIENT_SEND_ERRORS as error:
                self._put_back(topic, messages)
                logger.debug("publishing to %s failed, trying on: %s", topic, error)
                time.sleep(RETRY_PAUSE_S)
            except Exception as error:
                # The thread must survive. Sending the same again cannot help: it was refused.
                self._lost(len(messages), topic, error)
            with self._changed:
                self._is_sending = False
                self._changed.notify_all()

    def _next_batch(self) -> tuple[str, list[T]] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_stopping)
        if len(self._waiting) < BATCH:
            self._hurry.wait(LINGER_S)
        with self._changed:
            if not self._waiting:
                return None
            self._is_sending = True
            topic, first = self._waiting.popleft()
            messages = [first]
            while self._waiting and self._waiting[0][0] == topic and len(messages) < BATCH:
                messages.append(self._waiting.popleft()[1])
            if not self._waiting:
                self._hurry.clear()
            dropped, self._dropped = self._dropped, 0
        if dropped:
            self._lost(dropped, topic, "the service took none for too long")
        return topic, messages

    def _put_back(self, topic: str, messages: list[T]) -> None:
        with self._changed:
            if self._is_stopping:
                return
            self._waiting.extendleft((topic, message) for message in reversed(messages))
            while len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self._dropped += 1

    def _lost(self, count: int, topic: str, why: object) -> None:
        logger.warning("lost %d events or replies for %s: %s", count, topic, why)
