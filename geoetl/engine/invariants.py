"""What must hold in the app database at every moment, and whether it does."""

from dataclasses import dataclass

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries
from geoetl.models.refs import RunId

SQL = load_queries("geoetl.engine.sql", "invariants.sql")


@dataclass(frozen=True, slots=True)
class Violation:
    """A breach of the protocol: a defect of the engine, or rows that somebody changed by hand."""

    kind: str
    """The broken rule, for example ``barrier-wrong``; the view ``geoetl.violation`` explains each."""
    run_id: RunId
    stage_no: int | None
    task_id: str | None
    detail: str

    def __str__(self) -> str:
        where = f" stage {self.stage_no}" if self.stage_no is not None else ""
        which = f" task {self.task_id}" if self.task_id else ""
        return f"{self.kind}: run {self.run_id}{where}{which}: {self.detail}"


def violations(conn: Connection, *, run_id: RunId | None = None) -> list[Violation]:
    """All breaches, or those of one run; empty in health. Safe to ask while everything runs: it sees one snapshot."""
    return [
        Violation(kind, RunId(str(run)), stage_no, str(task_id) if task_id else None, detail)
        for kind, run, stage_no, task_id, detail in conn.execute(SQL["violations"], {"run_id": run_id})
    ]
