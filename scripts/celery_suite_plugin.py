"""pytest plugin for Celery's integration suite: our app class, our services, and a summary of what failed.

``celery_suite.sh`` also runs it as a program: ``start FOLDER`` and ``stop FOLDER`` of a private PostgreSQL, and
``report junit.xml``.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

#: Start many workers in one test.
_SLOW = ("test_mem_leak", "events_state_memory_leak")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--test-timeout", type=float, default=60.0, help="seconds per test")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One timeout for all, and no second chances: what fails now and then must be seen."""
    timeout_s: float = config.getoption("--test-timeout")
    for item in items:
        for node in item.listchain():
            node.own_markers[:] = [mark for mark in node.own_markers if mark.name not in {"timeout", "flaky"}]
        item.add_marker(pytest.mark.timeout(timeout_s * (8 if any(part in item.nodeid for part in _SLOW) else 1)))


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Make the suite's apps ours where the backend is; its conftest reads the address at import."""
    backend = os.environ["TEST_BACKEND"]
    if os.environ["TEST_BROKER"].startswith("servicebus:"):
        import geoetl.transport  # noqa: F401 - registers the scheme with kombu

    if backend.startswith("geoetl"):
        from celery.contrib.testing import app as testing_app

        from geoetl.backend.app import OutboxCelery

        testing_app.Celery = OutboxCelery
        # Celery's default, which two tests expect; ours is True.
        settings = {"task_acks_late": False}
        Path(early_config.rootpath, "integration-tests-config.json").write_text(json.dumps(settings), encoding="utf-8")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write failures down as they happen: the run takes half an hour."""
    if report.failed:
        with Path(os.environ["CELERY_SUITE_FAILURES"]).open("a", encoding="utf-8") as file:
            file.write(f"==== {report.nodeid}\n{report.longreprtext}\n\n")


def _cluster(folder: Path) -> Any:
    from geoetl.local.postgres import PostgresCluster

    return PostgresCluster(
        folder=folder, log=folder.with_suffix(".log"), record=folder.with_suffix(".pid"), is_ephemeral=True
    )


def start_cluster(folder: Path) -> str:
    """A private PostgreSQL with the backend's tables; the backend's URL."""
    import psycopg

    from geoetl.backend.schema import install

    cluster = _cluster(folder)
    cluster.start()
    with psycopg.connect(cluster.target().conninfo(application_name="suite"), autocommit=True) as conn:
        conn.execute("CREATE DATABASE suite")
    database = cluster.target("suite")
    with psycopg.connect(database.conninfo(application_name="suite"), autocommit=True) as conn:
        install(conn)
    return f"geoetl+postgresql:///suite?host={database.host}&port={database.port}&user={database.user}"


def stop_cluster(folder: Path) -> None:
    """Stop it and remove its data."""
    cluster = _cluster(folder)
    cluster.stop()
    cluster.remove()


def summarize(junit: Path) -> int:
    """Print failures with their first line, then the count; the number of failures."""
    states: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for case in ElementTree.parse(junit).getroot().iter("testcase"):  # noqa: S314 - we have just written it
        name = f"{(case.get('classname') or '').removeprefix('t.integration.')}::{case.get('name')}"
        state = "passed"
        for child in case:
            text = (child.get("message") or child.text or "").strip()
            if child.tag in {"failure", "error"}:
                state, reasons[name] = "failed", text.split("\n", 1)[0][:200]
            elif child.tag == "skipped" and state == "passed":
                state = "xfailed" if "xfail" in (child.get("type") or "") else "skipped"
                reasons[name] = text[:150]
        if states.get(name) != "failed":
            states[name] = state
    for name in sorted(name for name, state in states.items() if state == "failed"):
        print(f"FAILED {name}: {reasons[name]}")
    skipped = Counter(reasons[name] for name, state in states.items() if state in {"skipped", "xfailed"})
    for reason, count in skipped.most_common():
        print(f"SKIPPED {count}: {reason}")
    counts = Counter(states.values())
    print(f"{counts['skipped']} skipped, {counts['xfailed']} xfailed")
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return counts["failed"]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["start", folder]:
            print(start_cluster(Path(folder)))
        case ["stop", folder]:
            stop_cluster(Path(folder))
        case ["report", junit]:
            sys.exit(min(1, summarize(Path(junit))))
        case _:
            sys.exit(__doc__)
