"""A journal in one SQLite file: what a client was told is accepted is there after `kill -9`."""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from geoetl.emulator.decode import decode
from geoetl.emulator.encode import encode
from geoetl.emulator.filters import FilterDescription
from geoetl.emulator.journal import EntityKind, EntityRecord, RuleRecord
from geoetl.emulator.message import Message, State

#: Raised when the tables change in a way that older files do not have.
_FORMAT: Final = 2

#: From the format before: queues were the only entities.
_UPGRADE: Final = """
insert or ignore into entity select key, 'queue', name, properties, created_at, updated_at from queue;
drop table queue;
"""
_SCHEMA: Final = """
create table if not exists entity (
  key text primary key,
  kind text not null,
  name text not null,
  properties text not null,
  created_at real not null,
  updated_at real not null
);
-- Rules by the key of their subscription; `filter` is the description as JSON.
create table if not exists rule (
  key text not null,
  name text not null collate nocase,
  filter text not null,
  created_at real not null,
  primary key (key, name)
);
-- The highest sequence number outlives the messages, so that no number is given twice.
create table if not exists sequence (
  key text primary key,
  last_number integer not null
);
create table if not exists message (
  key text not null,
  sequence_number integer not null,
  properties blob not null,
  application_properties blob not null,
  body blob not null,
  annotations blob not null,
  durable integer not null,
  priority integer,
  ttl_ms integer,
  enqueued_at real not null,
  delivery_count integer not null,
  state integer not null,
  due_at real not null,
  expires_at real,
  lock_token blob,
  locked_until real not null,
  primary key (key, sequence_number)
) without rowid;
"""

_PUT_ENTITY: Final = "insert or replace into entity values (?, ?, ?, ?, ?, ?)"
_PUT_RULE: Final = "insert or replace into rule values (?, ?, ?, ?)"
_FIELDS: Final = (
    *("sequence_number", "properties", "application_properties", "body", "annotations", "durable", "priority"),
    *("ttl_ms", "enqueued_at", "delivery_count", "state", "due_at", "expires_at", "lock_token", "locked_until"),
)
_NAMES: Final = ", ".join(_FIELDS)
_MARKS: Final = ", ".join("?" * len(_FIELDS))
_ADD: Final = f"insert or replace into message (key, {_NAMES}) values (?, {_MARKS})"  # noqa: S608 - constants only
_READ: Final = f"select {_NAMES} from message where key = ? order by sequence_number"  # noqa: S608 - constants only
_UPDATE: Final = """
update message set delivery_count = ?, state = ?, expires_at = ?, lock_token = ?, locked_until = ?
where key = ? and sequence_number = ?
"""
_REMOVE: Final = "delete from message where key = ? and sequence_number = ?"
_RAISE_SEQUENCE: Final = """
insert into sequence values (?, ?) on conflict (key) do update set last_number = max(last_number, excluded.last_number)
"""


class JournalError(Exception):
    """The file cannot serve as a journal; the message says why and what to do."""


class SqliteJournal:
    """A journal in a directory.

    Write-ahead logging without a sync per commit: a crash of the process loses nothing, a crash of the machine may lose
    the last moments but never corrupts the file.

    Args:
        directory: where the file is; it is created when missing.

    Raises:
        JournalError: another emulator has the file open, or it is of another format.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / "messages.sqlite"
        # The server may be started in another thread than it was made in; it is used by one at a time.
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0.5)
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            raise JournalError(
                f"Cannot use {self._path} as the journal: {error}. Stop the emulator that has it open, or give another "
                "directory."
            ) from error
        self._is_dirty = False

    def _open(self) -> None:
        # One emulator per file: two would hand out the same messages.
        self._db.execute("pragma locking_mode = exclusive")
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        (found,) = self._db.execute("pragma user_version").fetchone()
        if found > _FORMAT:
            raise sqlite3.DatabaseError(f"it has format {found}, this version writes {_FORMAT}")
        upgrade = _UPGRADE if found == 1 else ""
        self._db.executescript(f"begin exclusive;{_SCHEMA}{upgrade}pragma user_version = {_FORMAT};commit;")

    def put_entity(self, key: str, record: EntityRecord) -> None:
        properties = json.dumps(dict(record.properties))
        self._write(_PUT_ENTITY, (key, record.kind, record.name, properties, record.created_at, record.updated_at))

    def drop_entity(self, key: str) -> None:
        for table in ("entity", "rule", "sequence", "message"):
            # Other entities may be below the path too: what belongs to this one begins with `$` or `subscriptions/`.
            # `%` follows `$` in ASCII, and `0` follows `/`.
            statement = f"delete from {table} where key = ? or (key > ? and key < ?) or (key > ? and key < ?)"  # noqa: S608 - the names above
            below = (f"{key}/$", f"{key}/%", f"{key}/subscriptions/", f"{key}/subscriptions0")
            self._write(statement, (key, *below))

    def put_rule(self, key: str, record: RuleRecord) -> None:
        self._write(_PUT_RULE, (key, record.name, json.dumps(asdict(record.filter)), record.created_at))

    def drop_rule(self, key: str, name: str) -> None:
        self._write("delete from rule where key = ? and name = ?", (key, name))

    def add(self, key: str, message: Message) -> None:
        self._write(_ADD, _row(key, message))
        self.note_number(key, message.sequence_number)

    def note_number(self, key: str, sequence_number: int) -> None:
        self._write(_RAISE_SEQUENCE, (key, sequence_number))

    def update(self, key: str, message: Message) -> None:
        self._write(
            _UPDATE,
            (
                message.delivery_count,
                message.state,
                message.expires_at,
                message.lock_token,
                message.locked_until,
                key,
                message.sequence_number,
            ),
        )

    def remove(self, key: str, sequence_number: int) -> None:
        self._write(_REMOVE, (key, sequence_number))

    def commit(self) -> None:
        if self._is_dirty:
            self._db.execute("commit")
            self._is_dirty = False

    def entities(self, kind: EntityKind) -> Iterator[EntityRecord]:
        for name, properties, created_at, updated_at in self._db.execute(
            "select name, properties, created_at, updated_at from entity where kind = ? order by key", (kind,)
        ).fetchall():
            yield EntityRecord(kind, name, json.loads(properties), created_at, updated_at)

    def rules(self, key: str) -> Iterator[RuleRecord]:
        for name, text, created_at in self._db.execute(
            "select name, filter, created_at from rule where key = ? order by name", (key,)
        ).fetchall():
            description = json.loads(text)
            values = {each: (kind, value) for each, (kind, value) in description["values"].items()}
            yield RuleRecord(name, FilterDescription(description["kind"], description["fields"], values), created_at)

    def messages(self, key: str) -> Iterator[Message]:
        for row in self._db.execute(_READ, (key,)).fetchall():
            yield _message(row)

    def last_sequence_number(self, key: str) -> int:
        row = self._db.execute("select last_number from sequence where key = ?", (key,)).fetchone()
        return row[0] if row else 0

    def close(self) -> None:
        self.commit()
        self._db.close()

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        if not self._is_dirty:
            self._db.execute("begin")
            self._is_dirty = True
        self._db.execute(statement, values)


def _row(key: str, message: Message) -> tuple[Any, ...]:
    values = {name: getattr(message, name) for name in _FIELDS} | {"annotations": encode(message.annotations)}
    return (key, *values.values())


def _message(row: tuple[Any, ...]) -> Message:
    values = dict(zip(_FIELDS, row, strict=True))
    values["annotations"] = decode(values["annotations"])[0]
    values["durable"] = bool(values["durable"])
    values["state"] = State(values["state"])
    return Message(**values)
