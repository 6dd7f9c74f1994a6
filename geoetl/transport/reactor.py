"""The thread that owns all receive links: it sleeps until a socket is readable, a timer is due or somebody calls."""

import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from geoetl.transport.wakeup import Wakeup

logger = logging.getLogger(__name__)


class Reactor:
    """A small event loop on its own daemon thread.

    Everything it calls runs one at a time, under its turn, and must not block: on its own thread, or on the thread of
    `call_now` while its own sleeps. `call` and `call_now` may be used from any thread; the other methods only from
    calls that the reactor makes.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup = Wakeup()
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._timer_ids = itertools.count()
        self._is_stopping = False
        #: Held by whoever runs what the reactor calls.
        self._turn = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="servicebus-reactor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Have the reactor call a function soon; from any thread, without waiting."""
        self._calls.append((function, args))
        self._wakeup.set()

    def call_now(self, function: Callable[..., object], *args: Any) -> None:
        """Like `call`, but at once and on this thread when the reactor sleeps, which saves two switches of threads.

        A signal handler that interrupts it keeps the reactor from its turn: Celery's soft shutdown sleeps in one.
        """
        if self._calls or not self._turn.acquire(blocking=False):
            self.call(function, *args)
            return
        try:
            self._guarded(function, args)
        finally:
            self._turn.release()

    def call_and_wait(self, function: Callable[..., object], *args: Any, timeout_s: float) -> bool:
        """Like `call`, and wait for it; False when it did not end in time or the reactor calls itself."""
        if threading.current_thread() is self._thread:
            return False
        done = threading.Event()

        def run() -> None:
            try:
                function(*args)
            finally:
                done.set()

        self.call(run)
        return done.wait(timeout_s)

    def call_later(self, delay_s: float, function: Callable[..., object], *args: Any) -> None:
        timer = (time.monotonic() + delay_s, next(self._timer_ids), function, args)
        heapq.heappush(self._timers, timer)
        if self._timers[0] is timer and threading.current_thread() is not self._thread:
            self._wakeup.set()  # it sleeps until the timer that was first before

    def watch(self, sock: socket.socket, on_readable: Callable[[], object]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, on_readable)

    def unwatch(self, sock: socket.socket) -> None:
        try:
            self._selector.unregister(sock)
        except (KeyError, ValueError):  # never watched, or closed meanwhile
            logger.debug("socket was not watched any more")

    def stop(self, *, timeout_s: float) -> None:
        self.call(self._halt)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _halt(self) -> None:
        self._is_stopping = True

    def _run(self) -> None:
        while not self._is_stopping:
            ready = self._selector.select(self._time_to_next_timer())
            with self._turn:
                self._run_once(ready)
        self._selector.close()
        self._wakeup.close()

    def _run_once(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        for key, _ in ready:
            if key.data is not None:
                self._guarded(key.data, ())
            else:
                self._wakeup.clear()  # before looking at the calls, see Wakeup
        while self._calls:
            function, args = self._calls.popleft()
            self._guarded(function, args)
        while self._timers and self._timers[0][0] <= time.monotonic():
            _, _, function, args = heapq.heappop(self._timers)
            self._guarded(function, args)

    def _time_to_next_timer(self) -> float | None:
        if self._calls:
            return 0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _guarded(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except Exception:
            # The thread must survive: without it no message is received, settled or renewed in this process any more.
            logger.exception("error in the Service Bus reactor")

    def close_inherited(self) -> None:
        """In a forked child: close our file descriptors, and never touch the registrations the parent still uses."""
        self._selector.close()
        self._wakeup.close()
