"""An event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self


class LoopThread:
    """Runs coroutines and functions in the loop of a daemon thread, for as long as the `with` block lasts."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, once it has ended in the loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def call[T](self, function: Callable[[], T]) -> T:
        """The result of a function that must run where the loop does."""

        async def call_in_loop() -> T:
            return function()

        return self.run(call_in_loop())
