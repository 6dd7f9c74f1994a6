"""The commands of whoever runs an installation, on a whole stack."""

import json
import uuid
from pathlib import Path

from geoetl.chains.noop import Noop
from geoetl.worker.client import submit
from tests.acceptance.conftest import Installation, document


def test_config_show_tells_where_each_value_came_from(installation: Installation):
    shown = document(installation.run_here("config", "show", "--json"))
    origins = {each["variable"]: each["origin"] for each in shown}
    assert origins["GEOETL_WORKER__LEASE_S"] == "the environment"
    assert origins["GEOETL_DATABASE__APP__HOST"] == str(installation.home / "geoetl.env")
    assert origins["GEOETL_LIMITS__MAX_SOURCES"] == "the default"
    assert "AccountKey" not in json.dumps(shown)
    assert installation.run_here("config", "check").returncode == 0


def test_preflight_runs_the_checks_alone(installation: Installation, tmp_path: Path):
    before = installation.rows()
    spec = tmp_path / "spec.json"
    spec.write_text(
        json.dumps({
            "job_type": "process_raster",
            "sources": [f"bronze://bronze/{uuid.uuid4().hex}.tif"],
            "collection": f"none-{uuid.uuid4().hex[:8]}",
        })
    )  # fmt: skip
    done = installation.run_here("preflight", str(spec), "--json")
    assert done.returncode == 2
    found = json.loads(done.stdout)
    assert [finding["code"] for finding in found["findings"]] == ["blob-missing", "collection-missing"]
    assert found["accepted"] is False
    accepted = installation.run_here("preflight", "noop", "-p", "tasks=1")
    assert (accepted.returncode, accepted.stdout.strip()) == (0, "noop would be accepted; 0 fact(s) learned")
    assert installation.rows() == before


def test_storage_commands_move_blobs(installation: Installation, tmp_path: Path):
    file, back = tmp_path / "a.txt", tmp_path / "b.txt"
    file.write_text("hello")
    uri = f"bronze://bronze/{uuid.uuid4().hex}/a.txt"
    assert installation.run_here("storage", "put", str(file), uri).returncode == 0
    assert installation.run_here("storage", "put", str(file), uri).returncode == 2, "products are immutable"
    listed = document(installation.run_here("storage", "ls", uri.rpartition("/")[0], "--json"))
    assert [(blob["ref"], blob["size_bytes"]) for blob in listed] == [(uri, 5)]
    assert installation.run_here("storage", "get", uri, str(back)).returncode == 0
    assert back.read_text() == "hello"
    missing = installation.run_here("storage", "get", f"{uri}.gone", str(back))
    assert (missing.returncode, "blob-missing" in missing.stderr) == (2, True)
    assert installation.run_here("storage", "check").returncode == 0
    provisioned = installation.run_here("storage", "provision")
    assert provisioned.stdout.split() == ["bronze://bronze", "is", "there", "silver://silver", "is", "there"]


def test_catalog_commands_on_an_installation(installation: Installation):
    name = f"admin-{uuid.uuid4().hex[:8]}"
    assert installation.run_here("collection", "create", name).returncode == 0
    checked = installation.run_here("catalog", "check", "--collection", name)
    assert (checked.returncode, checked.stdout.strip()) == (0, "Catalogue, ledger and store say the same.")
    (planned,) = document(installation.run_here("catalog", "rebuild", "--collection", name, "--dry-run", "--json"))
    assert (planned["collection"], planned["is_created"], planned["items"]) == (name, False, 0)
    assert document(installation.run_here("catalog", "sweep", "--json")) == {"deleted": False, "blobs": []}
    assert installation.run_here("catalog", "rebuild", "--collection", "none").returncode == 2


def test_prune_counts_and_removes_what_ended_long_ago(installation: Installation):
    job = submit(Noop(tasks=1, name=uuid.uuid4().hex), services=installation.services)
    assert job.cancel()
    age = "UPDATE geoetl.run SET finished_at = now() - interval '100 days' WHERE job_id = %s RETURNING id"
    assert installation.sql(age, job.id)

    would = document(installation.run_here("db", "prune", "--dry-run", "--json"))
    done = installation.run_here("db", "prune", "--older-than", "90d")

    assert (would["jobs"], would["older_than_s"], would["dry_run"]) == (1, 90 * 86400, True)
    assert done.stdout.startswith("1 job and 1 run that ended more than 90 days ago removed"), done.stderr
    assert installation.run_here("job", "status", job.id).returncode == 2
