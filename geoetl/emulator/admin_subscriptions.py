"""Administration of subscriptions and their rules."""

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Final, Self

from geoetl.emulator.atom import child, local_name
from geoetl.emulator.atom_entities import SUBSCRIPTION, entity_entry, parse_properties
from geoetl.emulator.atom_rules import RULE, parse_filter, rule_entry
from geoetl.emulator.conditions import ARGUMENT_ERROR, ServiceBusError, entity_not_found
from geoetl.emulator.namespace import Namespace
from geoetl.emulator.rules import DEFAULT_RULE

_PATH: Final = re.compile(
    r"(?P<topic>.+?)/subscriptions(?:/(?P<subscription>[^/]+)(?P<rules>/rules(?:/(?P<rule>[^/]+))?)?)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class SubscriptionPath:
    """What a path below a topic names: a subscription, a rule, or all of them."""

    topic: str
    #: None: all subscriptions of the topic.
    subscription: str | None
    #: Whether the path goes on to rules; all of them when `rule` is None.
    has_rules: bool
    rule: str | None

    @classmethod
    def parse(cls, path: str) -> Self | None:
        """What a path names; None when it is not below a topic.

        Raises:
            ServiceBusError: it goes deeper than rules.
        """
        match = _PATH.fullmatch(path)
        if match is None:
            if "/subscriptions/" in path.lower():
                raise ServiceBusError(ARGUMENT_ERROR, f"'{path}' names no subscription and no rule.")
            return None
        return cls(match["topic"], match["subscription"], match["rules"] is not None, match["rule"])

    @property
    def is_list(self) -> bool:
        return self.subscription is None or (self.has_rules and self.rule is None)


class SubscriptionsApi:
    """Answers requests about subscriptions and rules.

    Args:
        namespace: what is administered.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    # Each raises ServiceBusError when something on the path does not exist, or the namespace refuses the change.

    def entries(self, path: SubscriptionPath) -> list[str]:
        """The entries of all subscriptions of a topic, or of all rules of a subscription, by name."""
        if path.subscription is None:
            subscriptions = self._namespace.topic(path.topic).subscriptions
            return [entity_entry(subscriptions[name]) for name in sorted(subscriptions)]
        rules = self._namespace.subscription(path.topic, path.subscription).rules
        return [rule_entry(rules[name]) for name in sorted(rules)]

    def get(self, path: SubscriptionPath) -> str:
        """The entry of a subscription or rule."""
        subscription = self._namespace.subscription(path.topic, path.subscription or "")
        if path.rule is None:
            return entity_entry(subscription)
        rule = subscription.rules.get(path.rule.lower())
        if rule is None:
            raise entity_not_found(f"{subscription.name}/Rules/{path.rule}")
        return rule_entry(rule)

    def put(self, path: SubscriptionPath, described: ET.Element, *, is_update: bool) -> str:
        """Creates or changes a subscription or rule and returns its entry."""
        kind, expected = local_name(described.tag), SUBSCRIPTION if path.rule is None else RULE
        if kind != expected:
            raise ServiceBusError(ARGUMENT_ERROR, f"A {expected} is expected here, got {kind}.")
        if path.rule is not None:
            return self._put_rule(path, path.rule, described, is_update=is_update)
        topic, name, properties = path.topic, path.subscription or "", parse_properties(described)
        if is_update:
            return entity_entry(self._namespace.update_subscription(topic, name, properties))
        default = child(described, "DefaultRuleDescription")
        if default is None:
            return entity_entry(self._namespace.create_subscription(topic, name, properties))
        title = child(default, "Name")
        subscription = self._namespace.create_subscription(
            topic,
            name,
            properties,
            rule_name=DEFAULT_RULE if title is None or not title.text else title.text,
            rule_filter=parse_filter(default),
        )
        return entity_entry(subscription)

    def delete(self, path: SubscriptionPath) -> None:
        """Deletes a subscription or rule."""
        name = path.subscription or ""
        if path.rule is None:
            self._namespace.delete_subscription(path.topic, name)
        else:
            self._namespace.delete_rule(self._namespace.subscription(path.topic, name), path.rule)

    def _put_rule(self, path: SubscriptionPath, name: str, described: ET.Element, *, is_update: bool) -> str:
        subscription = self._namespace.subscription(path.topic, path.subscription or "")
        change = self._namespace.update_rule if is_update else self._namespace.create_rule
        return rule_entry(change(subscription, name, parse_filter(described)))
