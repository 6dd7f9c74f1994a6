"""Chore of the leading relay: what the broker gave up on becomes known to the task whose message it was."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from geoetl.backend.chores import Chore
from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.engine.ledger import fail_attempt

SQL = load_queries("geoetl.engine.sql", "dead_letters.sql")
TASKS = load_queries("geoetl.engine.sql", "tasks.sql")

#: A task whose messages died so often kills or confuses whoever takes it.
POISON_AFTER = 4
#: Seconds before the first new message; doubles. All of them together outlast a deployment of new workers.
RING_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that the broker, or a worker, has given up on."""

    task_id: str
    queue: str
    reason: str
    description: str
    deliveries: int


class DeadLetters(Protocol):
    """What the broker holds of them."""

    def settle(
        self, queue: str, *, known: Callable[[Collection[str]], Collection[str]], handle: Callable[[DeadLetter], None]
    ) -> int:
        """Hand over those of known tasks, each removed when ``handle`` has returned; leave all others alone."""
        ...


@dataclass(frozen=True, slots=True)
class Undertaker:
    """Empties the dead-letter queues of what is ours."""

    every_s: float
    queues: tuple[str, ...]
    dead_letters: DeadLetters
    ring_after_s: float = RING_AFTER_S

    def work(self, conn: Connection) -> int:
        """Go through all queues; how many dead letters were settled."""
        return sum(
            self.dead_letters.settle(
                queue, known=lambda ids: known_tasks(conn, ids), handle=lambda letter: self.bury(conn, letter)
            )
            for queue in self.queues
        )

    def bury(self, conn: Connection, letter: DeadLetter) -> None:
        """Record one with its task, in one transaction; ring again for a task that still waits, or fail it.

        What runs is left to its lease, and what has ended to its end: there the message was only a copy.
        """
        fact = {
            "queue": letter.queue,
            "reason": letter.reason,
            "description": letter.description,
            "deliveries": letter.deliveries,
        }
        with conn.transaction():
            conn.execute(TASKS["lock_run_of_task"], {"id": letter.task_id})
            conn.execute(SQL["record"], {"id": letter.task_id, "data": Jsonb(fact)})
            row = conn.execute(SQL["judge"], {"id": letter.task_id}).fetchone()
            if row is None or not row[0]:
                return
            _, has_attempts, died = row
            if has_attempts and died < POISON_AFTER:
                delay_s = self.ring_after_s * 2 ** (died - 1)
                conn.execute(SQL["ring"], {"id": letter.task_id, "delay_s": delay_s})
                return
            (attempt,) = conn.execute(TASKS["seize"], {"id": letter.task_id}).fetchone() or (None,)
            assert attempt is not None, "its row is locked, and ready"
            fail_attempt(conn, letter.task_id, attempt, _error(letter, died), expired=False)

    def chores(self) -> tuple[Chore, ...]:
        """For the relay."""
        return (Chore("bury dead letters", self.every_s, self.work, is_slow=True),)


def known_tasks(conn: Connection, ids: Collection[str]) -> set[str]:
    """Those of the ids that are ids of stage tasks; anything else may be among them."""
    possible = [each for each in ids if _is_uuid(each)]
    return {row[0] for row in conn.execute(SQL["known"], {"ids": possible})} if possible else set()


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _error(letter: DeadLetter, died: int) -> dict[str, Any]:
    why = letter.reason + (f" ({letter.description})" if letter.description else "")
    return {
        "code": "message-dead-lettered",
        "message": f"Nobody could take the task: its messages on queue {letter.queue!r} were given up {died} times, "
        f"the last one after {letter.deliveries} deliveries: {why}.",
        "hint": "Look at the logs of that queue's workers: whoever takes the task dies before it begins, or does not "
        "know the task. Then `geoetl job retry`.",
        "blame": "us",
        "type": "DeadLettered",
    }
