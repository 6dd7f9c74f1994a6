"""What people read: a plan and errors."""

import re

import pytest

from tests.acceptance.rasters import write_raster
from tests.goldens import compare


@pytest.fixture(scope="module")
def sources(installation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    small = write_raster(folder / "small.tif")
    return {
        "small": installation.put("golden/small.tif", small),
        "large": installation.put("golden/large.tif", write_raster(folder / "large.tif", size=2700, count=3)),
        "no-crs": installation.put("golden/no-crs.tif", write_raster(folder / "no-crs.tif", crs=None)),
        "truncated": installation.put("golden/truncated.tif", small.read_bytes()[:100_000]),
        "text": installation.put("golden/readme.tif", b"Not a raster.\n" * 100),
    }


def test_a_plan_reads_as_expected(installation, sources):
    done = installation.run_here(
        "plan",
        "process_raster",
        *(sources["small"], sources["large"]),
        *("--collection", "golden", "-p", "create_collection=true"),
    )

    assert done.returncode == 0, done.stderr
    compare("plan.txt", re.sub(r"Job [0-9a-f]{32}", "Job 0123456789abcdef0123456789abcdef", done.stdout))


def test_a_refusal_lists_every_finding_with_what_to_do(installation, sources):
    bad = [sources["no-crs"], sources["truncated"], sources["text"], "bronze://bronze/golden/nowhere.tif"]

    done = installation.run_here("submit", "process_raster", *bad, "--collection", "nowhere")

    assert done.returncode == 2
    compare("refusal.txt", done.stderr)


def test_a_misspelt_parameter_reads_as_expected(installation, sources):
    done = installation.run_here(
        "submit", "process_raster", sources["small"], "--collection", "g", "-p", "resamplng=nearest"
    )

    assert done.returncode == 2
    compare("unknown-parameter.txt", done.stderr)


def test_an_unknown_job_reads_as_expected(installation):
    done = installation.run_here("job", "status", "feedc0de")

    assert done.returncode == 2
    compare("unknown-job.txt", done.stderr)
