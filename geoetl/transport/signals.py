"""Signals an application can connect to, like Celery's own.

They are sent from the thread that also renews locks, in the process that consumes: receivers must return quickly.

Example:
    >>> from geoetl.transport.signals import lock_lost
    >>> @lock_lost.connect
    ... def tell_operations(sender, queue, delivery_count, message, **kwargs):
    ...     print("lost", queue, message.get("id"))
    >>> _ = lock_lost.disconnect(tell_operations)
"""

from celery.utils.dispatch import Signal

#: Service Bus gave a message we hold to somebody else: its task may now run twice. Sent once per message. Arguments:
#: `queue`, `lock_token`, `delivery_count`, and `message`: the task's id and name as far as they are known.
lock_lost = Signal(name="servicebus_lock_lost", providing_args={"queue", "lock_token", "delivery_count", "message"})

#: A receive link was lost; reconnecting has begun. Arguments: `queue`, `error`.
link_lost = Signal(name="servicebus_link_lost", providing_args={"queue", "error"})

#: A lost receive link is open again. Arguments: `queue`, `attempts`.
link_restored = Signal(name="servicebus_link_restored", providing_args={"queue", "attempts"})
