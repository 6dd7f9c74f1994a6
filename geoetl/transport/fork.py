"""What is shared by a process and must not be shared with its children.

A forked child inherits the file descriptors, but not the threads that own them. It must not use the connections (two
processes would write on one stream), must not close them through the SDK (that writes a farewell on the parent's
stream), and must not unregister them from the inherited epoll set (the parent still uses it). So it only closes its
copies of the descriptors, and starts afresh when it first publishes.
"""

import os
import threading
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, Protocol


class Inherited(Protocol):
    """Something a child must get rid of."""

    def close_inherited(self) -> None: ...


_lock = threading.RLock()
#: One per process and key, made on demand and kept.
_objects: dict[Hashable, Any] = {}
#: Things with a life of their own.
_registered: weakref.WeakSet[Any] = weakref.WeakSet()
#: What children inherited: kept, so that the garbage collector never runs destructors that use the connections.
_inherited: list[Any] = []


def per_process[T: Inherited](key: Hashable, make: Callable[[], T]) -> T:
    """The object of this process under a key, made when there is none."""
    with _lock:
        if key not in _objects:
            _objects[key] = make()
        return _objects[key]


def register(thing: Inherited) -> None:
    """Have a thing closed in children, for as long as it lives."""
    with _lock:
        _registered.add(thing)


def forget_all() -> list[Any]:
    """Take every object of `per_process` out, to be closed by the caller."""
    with _lock:
        taken = list(_objects.values())
        _objects.clear()
        return taken


def all_of_this_process() -> list[Any]:
    """Every object of `per_process`."""
    with _lock:
        return list(_objects.values())


def close_quietly(sock: Any) -> None:
    """Close a socket's descriptor without any traffic (`close` on a TLS socket would try to say goodbye)."""
    with suppress(OSError, AttributeError):
        os.close(sock.detach())


def _in_child() -> None:
    global _lock  # noqa: PLW0603 - the inherited lock may be held by a thread that does not exist here
    _lock = threading.RLock()
    for thing in [*_objects.values(), *_registered]:
        with suppress(Exception):  # whatever state the parent's threads were in, the child must start
            thing.close_inherited()
        _inherited.append(thing)
    _objects.clear()
    _registered.clear()


def _hold() -> None:
    _lock.acquire()


def _release() -> None:
    _lock.release()


# Windows has no fork.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_in_child)
