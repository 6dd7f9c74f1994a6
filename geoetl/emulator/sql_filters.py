"""The part of Service Bus's SQL filters that is equality: `sys.Label = 'x' AND colour = @colour AND size = 3`.

https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messaging-sql-filter
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from geoetl.emulator.conditions import ARGUMENT_ERROR, NOT_IMPLEMENTED, ServiceBusError
from geoetl.emulator.filters import (
    SYSTEM_PROPERTIES,
    Facts,
    Filter,
    FilterDescription,
    are_equal,
    parse_value,
)

#: The length Service Bus allows.
_MAX_LENGTH: Final = 1024

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>'(?:[^']|'')*')
    | (?P<number>[+-]?\d+(?:\.\d+)?)
    | (?P<parameter>@\w+)
    | \[(?P<quoted>(?:[^\]]|\]\])+)\]
    | (?P<word>[A-Za-z_]\w*)
    | (?P<symbol>[=.])
    )\s*""",
    re.VERBOSE,
)
_SYSTEM: Final = {name.lower(): name for name in SYSTEM_PROPERTIES}

type _Operand = Callable[[Facts], Any]
type _Token = tuple[str, str]


def sql_filter(description: FilterDescription) -> Filter:
    """A filter for messages that fulfil an expression.

    Raises:
        ServiceBusError: the expression is missing or too long, names an unknown parameter or system property, or is
            more than equalities joined by AND.
    """
    expression = description.fields.get("SqlExpression", "")
    if not expression or len(expression) > _MAX_LENGTH:
        raise ServiceBusError(ARGUMENT_ERROR, f"SubCode=40000. SqlExpression must have 1 to {_MAX_LENGTH} characters.")
    parameters = {name: parse_value(*value) for name, value in description.values.items()}
    equalities = _Parser(expression, parameters).parse()

    def matches(facts: Facts) -> bool:
        return all(are_equal(left(facts), right(facts)) for left, right in equalities)

    return matches


class _Parser:
    """Reads one expression.

    Args:
        expression: the text.
        parameters: the values of its parameters by name, `@` included.
    """

    def __init__(self, expression: str, parameters: Mapping[str, Any]) -> None:
        self._expression = expression
        self._parameters = {name.lower(): value for name, value in parameters.items()}
        self._tokens = self._tokenize()

    def parse(self) -> list[tuple[_Operand, _Operand]]:
        """The two sides of each equality."""
        equalities: list[tuple[_Operand, _Operand]] = []
        while True:
            left = self._operand()
            if self._next() != ("symbol", "="):
                raise self._unsupported()
            equalities.append((left, self._operand()))
            kind, text = self._next()
            if not kind:
                return equalities
            if (kind, text.upper()) != ("word", "AND"):
                raise self._unsupported()

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        at = 0
        while at < len(self._expression):
            match = _TOKEN.match(self._expression, at)
            if match is None or match.lastgroup is None:
                raise self._unsupported()
            tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        return tokens[::-1]

    def _next(self) -> _Token:
        return self._tokens.pop() if self._tokens else ("", "")

    def _operand(self) -> _Operand:
        kind, text = self._next()
        match kind:
            case "text":
                return _constant(text[1:-1].replace("''", "'"))
            case "number":
                return _constant(float(text) if "." in text else int(text))
            case "parameter":
                if text.lower() not in self._parameters:
                    raise ServiceBusError(ARGUMENT_ERROR, f"SubCode=40000. Parameter {text} has no value.")
                return _constant(self._parameters[text.lower()])
            case "word" if text.upper() in ("TRUE", "FALSE"):
                return _constant(text.upper() == "TRUE")
            case "word" | "quoted":
                return self._property(text)
            case _:
                raise self._unsupported()

    def _property(self, name: str) -> _Operand:
        scope = "user"
        if self._tokens and self._tokens[-1] == ("symbol", "."):
            self._next()
            scope = name.lower()
            kind, name = self._next()
            if scope not in ("sys", "user") or kind not in ("word", "quoted"):
                raise self._unsupported()
        if scope == "user":
            name = name.replace("]]", "]")
            return lambda facts: facts.application_properties.get(name)
        system = _SYSTEM.get(name.lower())
        if system is None:
            known = ", ".join(SYSTEM_PROPERTIES)
            raise ServiceBusError(ARGUMENT_ERROR, f"SubCode=40000. 'sys.{name}' is unknown; filters know {known}.")
        return lambda facts: facts.system(system)

    def _unsupported(self) -> ServiceBusError:
        return ServiceBusError(
            NOT_IMPLEMENTED,
            f"This emulator reads SQL filters that are equalities joined by AND, such as \"sys.Label = 'x' AND size = "
            f'3", got "{self._expression}".',
        )


def _constant(value: Any) -> _Operand:
    return lambda _facts: value
