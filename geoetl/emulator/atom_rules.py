"""Rules as Atom entries."""

import xml.etree.ElementTree as ET
from typing import Final
from xml.sax.saxutils import escape

from geoetl.emulator.atom import INSTANCE, child, description, element, entry, iso_time, local_name
from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.filters import (
    CORRELATION_FILTER,
    FALSE_FILTER,
    SQL_FILTER,
    SYSTEM_PROPERTIES,
    TRUE_FILTER,
    FilterDescription,
)
from geoetl.emulator.rules import Rule

RULE: Final = "RuleDescription"

_SCHEMA: Final = "http://www.w3.org/2001/XMLSchema"
_TYPE: Final = f"{{{INSTANCE}}}type"
_NO_ACTION: Final = "EmptyRuleAction"

#: Where each kind of filter has typed values.
_VALUES: Final = {CORRELATION_FILTER: "Properties", SQL_FILTER: "Parameters"}
_KEY_VALUE: Final = "KeyValueOfstringanyType"
#: The elements of each kind of filter in the order Service Bus lists them.
_SQL_FIELDS: Final = ("SqlExpression", "CompatibilityLevel", "RequiresPreprocessing")
_DEFAULT_FIELDS: Final = {
    TRUE_FILTER: {"SqlExpression": "1=1", "CompatibilityLevel": "20"},
    FALSE_FILTER: {"SqlExpression": "1=0", "CompatibilityLevel": "20"},
    SQL_FILTER: {"CompatibilityLevel": "20"},
}


def parse_filter(described: ET.Element) -> FilterDescription:
    """The filter in a description of a rule; one that lets all pass when there is none.

    Raises:
        ServiceBusError: the filter is malformed, or the rule has an action.
    """
    action = child(described, "Action")
    if action is not None and _type(action) not in ("", _NO_ACTION):
        raise ServiceBusError(NOT_IMPLEMENTED, "This emulator does not support the actions of rules.")
    found = child(described, "Filter")
    if found is None:
        return FilterDescription()
    kind = _type(found)
    accepted = tuple(SYSTEM_PROPERTIES) if kind == CORRELATION_FILTER else _SQL_FIELDS
    fields = {local_name(each.tag): each.text or "" for each in found if local_name(each.tag) in accepted}
    values = child(found, _VALUES.get(kind, ""))
    return FilterDescription(
        kind=kind,
        fields=_DEFAULT_FIELDS.get(kind, {}) | fields,
        values={} if values is None else dict(map(_parse_value, values)),
    )


def rule_entry(rule: Rule) -> str:
    """The Atom entry of a rule."""
    described = rule.description
    order = tuple(SYSTEM_PROPERTIES) if described.kind == CORRELATION_FILTER else _SQL_FIELDS
    fields = _DEFAULT_FIELDS.get(described.kind, {}) | dict(described.fields)
    elements = "".join(element(name, fields[name]) for name in order if name in fields)
    content = description(
        RULE,
        f'<Filter i:type="{escape(described.kind)}">{elements}{_values(described)}</Filter>'
        f'<Action i:type="{_NO_ACTION}"/>{element("CreatedAt", iso_time(rule.created_at))}{element("Name", rule.name)}',
    )
    return entry(rule.name, content, created_at=rule.created_at, updated_at=rule.created_at)


def _values(described: FilterDescription) -> str:
    if not described.values:
        return ""
    entries = "".join(
        f"<{_KEY_VALUE}>{element('Key', name)}"
        f'<Value xmlns:d6p1="{_SCHEMA}" i:type="d6p1:{kind}">{escape(text)}</Value></{_KEY_VALUE}>'
        for name, (kind, text) in described.values.items()
    )
    return f"<{_VALUES[described.kind]}>{entries}</{_VALUES[described.kind]}>"


def _parse_value(given: ET.Element) -> tuple[str, tuple[str, str]]:
    key, value = child(given, "Key"), child(given, "Value")
    if key is None or value is None or not key.text:
        raise ServiceBusError(ARGUMENT_ERROR, "A property of a filter needs a Key and a Value.")
    return key.text, (_type(value) or "string", value.text or "")


def _type(typed: ET.Element) -> str:
    return typed.get(_TYPE, "").rpartition(":")[2]
