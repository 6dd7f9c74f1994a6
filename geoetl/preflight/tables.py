"""Checks of published tables."""

import re

from pydantic import BaseModel

from geoetl.errors import Finding, SystemFault
from geoetl.preflight.checks import Check, Outcome, Services, Subject, TableLookup
from geoetl.preflight.each import CheckEach, value_of

#: Keys of these checks in a report.
TABLE_EXISTS = "table-exists"
TABLE_NOT_EXISTS = "table-not-exists"

#: Names that need no quotes anywhere, and 63 bytes at most: PostgreSQL cuts longer ones off without an error.
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


def table_exists(parameter: str, *, schema: str = "public") -> Check:
    """The table, or each table of a list, exists in the business database.

    Args:
        parameter: Field of the spec: ``table`` or ``schema.table``, or a sequence of them.
        schema: Where a name without schema is looked for.
    """

    def verdict(subject: Subject, _spec: BaseModel, services: Services) -> Outcome:
        return _judge(subject, services, schema=schema, must_exist=True, hint="Check its name, and the schema.")

    return CheckEach(TABLE_EXISTS, parameter, verdict)


def table_not_exists(parameter: str, *, schema: str = "public", unless: str | None = None) -> Check:
    """The table, or each table of a list, does not exist yet, and its name is one that PostgreSQL takes as it is.

    Args:
        parameter: Field of the spec: ``table`` or ``schema.table``, or a sequence of them.
        schema: Where a name without schema is looked for.
        unless: Field of the spec that, when true, lets the job replace tables.
    """

    def verdict(subject: Subject, spec: BaseModel, services: Services) -> Outcome:
        if unless is not None and value_of(spec, unless):
            return Outcome()
        hint = f"Choose another name{f', or set `{unless}`' if unless else ''}."
        return _judge(subject, services, schema=schema, must_exist=False, hint=hint)

    return CheckEach(TABLE_NOT_EXISTS, parameter, verdict)


def _judge(subject: Subject, services: Services, *, schema: str, must_exist: bool, hint: str) -> Outcome:
    parts = str(subject.value).split(".")
    if len(parts) > 2 or not all(_NAME.fullmatch(part) for part in parts):
        finding = Finding(
            code="table-name-invalid",
            message=f"{subject.value!r} is no table name.",
            hint="Write table or schema.table: lower-case letters, digits and '_', at most 63, no digit first.",
            parameter=subject.parameter,
        )
        return Outcome(findings=(finding,))
    where, table = (schema, parts[0]) if len(parts) == 1 else parts
    if _lookup(services).has_table(where, table) is must_exist:
        return Outcome()
    finding = Finding(
        code="table-missing" if must_exist else "table-exists",
        message=f"Table {where}.{table} {'does not exist' if must_exist else 'exists already'}.",
        hint=hint,
        parameter=subject.parameter,
    )
    return Outcome(findings=(finding,))


def _lookup(services: Services) -> TableLookup:
    if services.tables is None:
        raise SystemFault("This process was made without access to the published tables, which a check asks for.")
    return services.tables
