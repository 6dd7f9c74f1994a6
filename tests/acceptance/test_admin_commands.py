"""The commands of whoever runs an installation, on a whole stack."""

import json
import uuid
from pathlib import Path

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
