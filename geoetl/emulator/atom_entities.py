"""Queues, topics and subscriptions as Atom entries."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import Final

from geoetl.emulator.atom import description, element, entry, iso_time, local_name
from geoetl.emulator.counts import Counts
from geoetl.emulator.entities import Entity
from geoetl.emulator.queue import Queue
from geoetl.emulator.subscription import Subscription
from geoetl.emulator.topic import Topic

QUEUE: Final = "QueueDescription"
TOPIC: Final = "TopicDescription"
SUBSCRIPTION: Final = "SubscriptionDescription"

_COUNTS: Final = "http://schemas.microsoft.com/netservices/2011/06/servicebus"

#: The elements of a description in the order Service Bus lists them: clients parse by name, its XML schema by order.
_ORDER: Final = {
    QUEUE: (
        *("LockDuration", "MaxSizeInMegabytes", "RequiresDuplicateDetection", "RequiresSession"),
        *("DefaultMessageTimeToLive", "DeadLetteringOnMessageExpiration", "DuplicateDetectionHistoryTimeWindow"),
        *("MaxDeliveryCount", "EnableBatchedOperations", "SizeInBytes", "MessageCount", "IsAnonymousAccessible"),
        *("Status", "CreatedAt", "UpdatedAt", "AccessedAt", "SupportOrdering", "CountDetails", "AutoDeleteOnIdle"),
        *("EnablePartitioning", "EntityAvailabilityStatus", "EnableExpress", "ForwardTo", "UserMetadata"),
        *("ForwardDeadLetteredMessagesTo", "MaxMessageSizeInKilobytes"),
    ),
    TOPIC: (
        *("DefaultMessageTimeToLive", "MaxSizeInMegabytes", "RequiresDuplicateDetection"),
        *("DuplicateDetectionHistoryTimeWindow", "EnableBatchedOperations", "SizeInBytes"),
        *("FilteringMessagesBeforePublishing", "IsAnonymousAccessible", "Status", "CreatedAt", "UpdatedAt"),
        *("AccessedAt", "SupportOrdering", "CountDetails", "SubscriptionCount", "AutoDeleteOnIdle"),
        *("EnablePartitioning", "EntityAvailabilityStatus", "EnableSubscriptionPartitioning", "EnableExpress"),
        *("UserMetadata", "MaxMessageSizeInKilobytes"),
    ),
    SUBSCRIPTION: (
        *("LockDuration", "RequiresSession", "DefaultMessageTimeToLive", "DeadLetteringOnMessageExpiration"),
        *("DeadLetteringOnFilterEvaluationExceptions", "MessageCount", "MaxDeliveryCount", "EnableBatchedOperations"),
        *("Status", "ForwardTo", "CreatedAt", "UpdatedAt", "AccessedAt", "CountDetails"),
        *("ForwardDeadLetteredMessagesTo", "AutoDeleteOnIdle", "EntityAvailabilityStatus", "UserMetadata"),
    ),
}


def parse_properties(described: ET.Element) -> dict[str, str]:
    """The properties in a description; those without text are left out."""
    return {local_name(each.tag): each.text for each in described if each.text}


def entity_entry(entity: Entity) -> str:
    """The Atom entry of an entity, with its settings and counts."""
    match entity:
        case Topic():
            # A topic keeps nothing but what is scheduled.
            counts = Counts(0, 0, entity.scheduled_count, 0, 0)
            return _entry(TOPIC, entity.name, entity, counts, {"SubscriptionCount": str(len(entity.subscriptions))})
        case Subscription():
            return _entry(SUBSCRIPTION, entity.title, entity, entity.counts)
        case Queue():
            return _entry(QUEUE, entity.name, entity, entity.counts)


def _entry(kind: str, title: str, entity: Entity, counts: Counts, more: Mapping[str, str] | None = None) -> str:
    texts = {
        **entity.description.properties,
        **(more or {}),
        "SizeInBytes": str(entity.size_bytes),
        "MessageCount": str(counts.total),
        "CreatedAt": iso_time(entity.created_at),
        "UpdatedAt": iso_time(entity.updated_at),
        "AccessedAt": iso_time(entity.touched_at),
    }
    elements = {name: element(name, text) for name, text in texts.items()} | {"CountDetails": _count_details(counts)}
    content = description(kind, "".join(_in_order(elements, _ORDER[kind])))
    return entry(title, content, created_at=entity.created_at, updated_at=entity.updated_at)


def _in_order(elements: Mapping[str, str], order: Iterable[str]) -> Iterable[str]:
    return (elements[name] for name in order if name in elements)


def _count_details(counts: Counts) -> str:
    details = "".join(
        f"<d:{name}>{value}</d:{name}>"
        for name, value in (
            ("ActiveMessageCount", counts.active),
            ("DeadLetterMessageCount", counts.dead_lettered),
            ("ScheduledMessageCount", counts.scheduled),
            # Forwarding takes no time here: nothing is under way.
            ("TransferMessageCount", 0),
            ("TransferDeadLetterMessageCount", counts.transfer_dead_lettered),
        )
    )
    return f'<CountDetails xmlns:d="{_COUNTS}">{details}</CountDetails>'


def namespace_entry(name: str, created_at: float) -> str:
    """The Atom entry of the namespace."""
    created = iso_time(created_at)
    elements = {
        "CreatedTime": created,
        "MessagingSKU": "Standard",
        "ModifiedTime": created,
        "Name": name,
        "NamespaceType": "Messaging",
    }
    content = description("NamespaceInfo", "".join(element(each, text) for each, text in elements.items()))
    return entry(name, content, created_at=created_at, updated_at=created_at)
