"""Which messages filters let pass."""

import pytest

from geoetl.emulator.amqp_types import Int, Symbol, Timestamp
from geoetl.emulator.conditions import ServiceBusError
from geoetl.emulator.encode import encode, encode_described
from geoetl.emulator.filters import CORRELATION_FILTER, SQL_FILTER, Facts, FilterDescription
from geoetl.emulator.message import APPLICATION_PROPERTIES, PROPERTIES, Message
from geoetl.emulator.rules import make_rule

#: The properties section, every field a filter may ask for with a value of its own.
SECTION = [
    *("the id", None, "the address", "the subject", "the answer's address", "the correlation", Symbol("text/plain")),
    *(None, None, None, "the session", None, "the answer's session"),
]
SYSTEM = {
    "MessageId": "the id",
    "To": "the address",
    "Label": "the subject",
    "ReplyTo": "the answer's address",
    "CorrelationId": "the correlation",
    "ContentType": "text/plain",
    "SessionId": "the session",
    "ReplyToSessionId": "the answer's session",
}
NINETEEN_SEVENTY = Timestamp(1500)


def message(**properties: object) -> Message:
    return Message(
        properties=encode_described(PROPERTIES, SECTION),
        application_properties=b"\x00\x53" + bytes((APPLICATION_PROPERTIES,)) + encode(properties),
    )


def lets_pass(description: FilterDescription, given: Message) -> bool:
    return make_rule("r", description, 0).matches(Facts(given))


def correlation(fields: dict[str, str] | None = None, **values: tuple[str, str]) -> FilterDescription:
    return FilterDescription(CORRELATION_FILTER, fields or {}, values)


def sql(expression: str, **values: tuple[str, str]) -> FilterDescription:
    return FilterDescription(SQL_FILTER, {"SqlExpression": expression}, {f"@{n}": v for n, v in values.items()})


def test_true_passes_everything_and_false_nothing():
    assert lets_pass(FilterDescription("TrueFilter"), Message())
    assert not lets_pass(FilterDescription("FalseFilter"), Message())


@pytest.mark.parametrize(("name", "value"), SYSTEM.items())
def test_correlation_filter_compares_each_system_property_by_case(name, value):
    assert lets_pass(correlation({name: value}), message())
    assert not lets_pass(correlation({name: value.upper()}), message())
    assert not lets_pass(correlation({name: value}), Message())


def test_correlation_filter_wants_all_that_it_names():
    given = message(colour="red", size=3)
    assert lets_pass(correlation({"Label": "the subject"}, colour=("string", "red"), size=("int", "3")), given)
    assert not lets_pass(correlation({"Label": "the subject"}, colour=("string", "blue")), given)
    assert not lets_pass(correlation({"Label": "other"}, colour=("string", "red")), given)
    assert not lets_pass(correlation(colour=("string", "red"), shape=("string", "round")), given)


@pytest.mark.parametrize(
    ("kind", "text", "value", "is_same"),
    [
        ("int", "3", 3, True),
        ("long", "3", Int(3), True),
        ("double", "3.0", 3, True),
        ("double", "0.5", 0.5, True),
        ("string", "3", 3, False),
        ("int", "3", "3", False),
        ("boolean", "true", True, True),
        ("boolean", "true", False, False),
        ("int", "1", True, False),
        ("boolean", "true", 1, False),
        ("dateTime", "1970-01-01T00:00:01.5Z", NINETEEN_SEVENTY, True),
        ("dateTime", "1970-01-01T00:00:01.5", NINETEEN_SEVENTY, True),
        ("dateTime", "1970-01-01T00:00:02Z", NINETEEN_SEVENTY, False),
        ("string", "", "", True),
    ],
)
def test_values_are_compared_by_type_and_value(kind, text, value, is_same):
    assert lets_pass(correlation(key=(kind, text)), message(key=value)) is is_same


@pytest.mark.parametrize(
    ("expression", "is_true"),
    [
        ("1=1", True),
        (" 1 = 1 ", True),
        ("1=0", False),
        ("sys.Label = 'the subject'", True),
        ("SYS.label='the subject'", True),
        ("sys.Label = 'The Subject'", False),
        ("sys.ReplyTo = 'the answer''s address'", True),
        ("colour = 'red'", True),
        ("user.colour = 'red' AND size = 3", True),
        ("colour = 'red' and size = 4", False),
        ("3 = size", True),
        ("[the rk] = 'a AND b'", True),
        ("missing = 'x'", False),
        ("missing = missing", False),
        ("is_big = TRUE", True),
        ("is_big = false", False),
        ("weight = 2.5", True),
        ("size = -3", False),
        ("colour = @c AND size = @S", True),
    ],
)
def test_equalities_joined_by_and_are_evaluated(expression, is_true):
    given = message(colour="red", size=3, is_big=True, weight=2.5, **{"the rk": "a AND b"})
    assert lets_pass(sql(expression, c=("string", "red"), s=("int", "3")), given) is is_true


@pytest.mark.parametrize(
    "expression",
    [
        "a > 1",
        "a = 1 OR b = 2",
        "NOT a = 1",
        "(a = 1)",
        "a LIKE 'x%'",
        "a IN ('x', 'y')",
        "a = 1 AND",
        "a =",
        "a",
        "a = 'open",
        "a = 1 b = 2",
        "other.a = 1",
        "EXISTS(a)",
        "a = 1; drop",
    ],
)
def test_other_expressions_are_refused_as_not_implemented(expression):
    with pytest.raises(ServiceBusError, match="equalities joined by AND") as refused:
        make_rule("r", sql(expression), 0)
    assert refused.value.status == 501


@pytest.mark.parametrize(
    ("description", "why"),
    [
        (sql(""), "1 to 1024 characters"),
        (sql("a = '" + "x" * 1020 + "'"), "1 to 1024 characters"),
        (sql("sys.Colour = 'x'"), "sys.Colour' is unknown"),
        (sql("a = @missing"), "@missing has no value"),
        (correlation(), "at least one property"),
        (correlation(a=("int", "three")), "not of type int"),
        (correlation(a=("boolean", "yes")), "not of type boolean"),
        (correlation(a=("dateTime", "soon")), "not of type dateTime"),
    ],
)
def test_malformed_filter_is_a_bad_request(description, why):
    with pytest.raises(ServiceBusError, match=why) as refused:
        make_rule("r", description, 0)
    assert refused.value.status == 400


@pytest.mark.parametrize("description", [FilterDescription("DateFilter"), correlation(a=("duration", "PT1S"))])
def test_unknown_kinds_are_refused_as_not_implemented(description):
    with pytest.raises(ServiceBusError, match="not-implemented"):
        make_rule("r", description, 0)
