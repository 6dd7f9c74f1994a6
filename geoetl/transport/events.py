"""Task events in long lists: what makes them cheap for a worker of short tasks.

Celery's dispatcher already collects the events of tasks, but sends what it has after every turn of the worker's loop.
For short tasks that is one event, which then costs a whole publish. This one sends a list after a tenth of a second, or
when it is long.

Example:
    >>> from celery import Celery
    >>> app = Celery("app", broker="servicebus://", events="geoetl.transport.events:Events")
    >>> app.events.Dispatcher.__name__
    'ListDispatcher'
"""

from collections.abc import Callable
from typing import Any

from celery.app.events import Events as CeleryEvents
from celery.events.dispatcher import EventDispatcher
from celery.events.event import group_from
from kombu.asynchronous import get_event_loop

#: How long an event waits for others, in seconds. The transport's own thread adds as much again.
LINGER_S = 0.1

#: Events of one list. The transport cuts lists that are too long in bytes.
LIST_LIMIT = 100


class ListDispatcher(EventDispatcher):
    """Celery's dispatcher of events, with rarer and longer lists where its worker has an event loop."""

    def __init__(self, *args: Any, on_send_buffered: Callable[[], object] | None = None, **kwargs: Any) -> None:
        # Only given by a worker that has an event loop.
        on_buffered = self._flush_soon if on_send_buffered else None
        super().__init__(*args, **{"buffer_limit": LIST_LIMIT, "on_send_buffered": on_buffered, **kwargs})
        self._is_flush_due = False

    def send(self, type: str, *args: Any, **kwargs: Any) -> Any:  # noqa: A002 - Celery's name for it
        """Send an event; one that is not collected goes after those that were before it."""
        if self._is_flush_due and group_from(type) not in self.buffer_group:
            self.flush()
        return super().send(type, *args, **kwargs)

    def close(self) -> None:
        """Send what was collected, then close."""
        self.flush(errors=False)
        super().close()

    def _flush_soon(self) -> None:
        if self._is_flush_due:
            return
        loop: Any = get_event_loop()
        if loop is None:
            self.flush()
            return
        self._is_flush_due = True
        # At the end of a worker its last tasks end after its loop's last turn.
        loop.on_close.add(self._flush_due)
        # Events of the pool `threads` come from its threads, and only the loop may touch the loop's timers.
        loop.call_soon(loop.call_later, LINGER_S, self._flush_due)

    def _flush_due(self, *_: Any) -> None:
        self._is_flush_due = False
        self.flush()


class Events(CeleryEvents):
    """What a Celery app is told by ``events=``."""

    dispatcher_cls = ListDispatcher
