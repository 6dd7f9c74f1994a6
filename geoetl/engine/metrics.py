"""What the database says about the engine, as Prometheus metrics: asked when they are scraped."""

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from geoetl.backend.ledger import Connection
from geoetl.backend.queries import load_queries

SQL = load_queries("geoetl.engine.sql", "metrics.sql")


class EngineCollector(Collector):
    """Metrics named ``geoetl_<noun>_<unit>``."""

    def __init__(self, connections: Callable[[], Connection]) -> None:
        self._connections = connections

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not ask the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All metrics."""
        conn = self._connections()
        yield self._table(conn, "tasks", "geoetl_tasks", "Tasks of open runs, by queue and state.", ["queue", "state"])
        yield self._table(
            conn, "jobs", "geoetl_jobs", "Jobs by type and state of the current run.", ["job_type", "state"]
        )
        yield self._table(
            conn, "queue_age", "geoetl_queue_age_seconds", "Age of the oldest task that is due, by queue.", ["queue"]
        )
        yield from self._outbox(conn)
        events = CounterMetricFamily("geoetl_events", "Events of the audit trail, by what happened.", labels=["what"])
        for what, count in self._events(conn):
            events.add_metric([what], count)
        yield events
        stages = GaugeMetricFamily(
            "geoetl_stage_seconds",
            "Duration of stages completed in the last hour.",
            labels=["job_type", "stage", "quantile"],
        )
        for job_type, stage, (median, p99) in conn.execute(SQL["stage_seconds"]):
            stages.add_metric([job_type, stage, "0.5"], median)
            stages.add_metric([job_type, stage, "0.99"], p99)
        yield stages

    @staticmethod
    def _events(conn: Connection) -> list[tuple[Any, ...]]:
        """Counts of all events, reading only those since the last scrape and of the last minutes."""
        with conn.transaction():
            # A statement of its own: the next one sees what was pruned while this one waited.
            row = conn.execute(SQL["lock_horizon"]).fetchone()
            conn.execute(SQL["move_horizon"], {"horizon": row[0] if row else 0})
            return conn.execute(SQL["events"]).fetchall()

    @staticmethod
    def _table(conn: Connection, query: str, name: str, about: str, labels: list[str]) -> Metric:
        """One gauge of a statement whose last column is the value."""
        family = GaugeMetricFamily(name, about, labels=labels)
        for *values, number in conn.execute(SQL[query]):
            family.add_metric(values, number)
        return family

    @staticmethod
    def _outbox(conn: Connection) -> Iterable[Metric]:
        row = conn.execute(SQL["outbox"]).fetchone()
        due, lag_s, refused, parked = row or (0, 0.0, 0, 0)
        yield GaugeMetricFamily("geoetl_outbox_messages", "Messages that are due and not yet published.", value=due)
        yield GaugeMetricFamily("geoetl_outbox_lag_seconds", "How long the oldest of them has been due.", value=lag_s)
        yield GaugeMetricFamily(
            "geoetl_outbox_refused_messages",
            "Messages that their queue refuses now.",
            value=refused,
        )
        yield GaugeMetricFamily("geoetl_outbox_parked_messages", "Messages that cannot be published.", value=parked)


def exposition(connections: Callable[[], Connection]) -> str:
    """All metrics in Prometheus' text format."""
    return generate_latest(registry(connections)).decode()


def registry(connections: Callable[[], Connection]) -> CollectorRegistry:
    """A registry of these metrics alone."""
    made = CollectorRegistry()
    made.register(EngineCollector(connections))
    return made
