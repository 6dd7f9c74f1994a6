"""What is refused at submit leaves no row, blob or message; what fails at run publishes nothing."""

import json

import pytest

from tests.acceptance.conftest import document
from tests.acceptance.rasters import corrupt_a_block, write_raster

VRT = """<VRTDataset rasterXSize="10" rasterYSize="10"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>
<SourceFilename relativeToVRT="0">/etc/passwd</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>
</VRTDataset>"""


@pytest.fixture(scope="module")
def sources(installation, tmp_path_factory):
    """One blob for each thing that can be wrong."""
    folder = tmp_path_factory.mktemp("sources")
    put = installation.put
    good = write_raster(folder / "good.tif")
    content = good.read_bytes()
    return {
        "good": put("bad-input/good.tif", good),
        "missing": "bronze://bronze/bad-input/missing.tif",
        "no-container": "bronze://nowhere/missing.tif",
        "empty": put("bad-input/empty.tif", b""),
        "text": put("bad-input/text.tif", b"This is no raster at all.\n" * 40),
        "truncated": put("bad-input/truncated.tif", content[: len(content) * 2 // 3]),
        "no-crs": put("bad-input/no-crs.tif", write_raster(folder / "no-crs.tif", crs=None)),
        "vrt": put("bad-input/vrt.tif", VRT.encode()),
        "no-time": put("bad-input/no-time.tif", _without_time(folder)),
    }


def _without_time(folder):
    import rasterio

    path = write_raster(folder / "no-time.tif")
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(TIFFTAG_DATETIME="")
    return path


def silver(installation):
    return sorted(blob.ref for blob in installation.services.store.list("silver", "silver"))


@pytest.fixture
def untouched(installation):
    """Whatever the test does, nothing may have been stored."""
    before = (installation.rows(), silver(installation))
    yield
    assert (installation.rows(), silver(installation)) == before


REFUSED = {
    "missing blob": (["missing"], {}, "blob-missing"),
    "missing container": (["no-container"], {}, "container-missing"),
    "empty blob": (["empty"], {}, "blob-empty"),
    "text named .tif": (["text"], {}, "not-a-raster"),
    "truncated GeoTIFF": (["truncated"], {}, "truncated"),
    "no CRS and none given": (["no-crs"], {}, "no-crs"),
    "CRS that contradicts the file": (["good"], {"source_crs": "EPSG:3857"}, "crs-contradiction"),
    "no datetime and none given": (["no-time"], {}, "no-datetime"),
    "unknown parameter": (["good"], {"overwirte": True}, "unknown-parameter"),
    "wrong type": (["good"], {"create_collection": "perhaps"}, "bad-parameter"),
    "bad collection id": (["good"], {"collection": "a/b"}, "bad-parameter"),
    "bad item id": (["good"], {"item_ids": ["../up"]}, "bad-parameter"),
    "no sources": ([], {}, "bad-parameter"),
    "10,001 sources": (["good"] * 10_001, {}, "bad-parameter"),
    "duplicate item ids": (["good", "no-crs"], {"item_ids": ["same", "same"]}, "bad-parameter"),
    "VRT that points elsewhere": (["vrt"], {}, "points-elsewhere"),
    "missing collection": (["good"], {"create_collection": False}, "collection-missing"),
    "unknown CRS": (["good"], {"target_crs": "EPSG:banana"}, "invalid-crs"),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_it_is_refused_at_submit_and_nothing_is_left(installation, sources, untouched, tmp_path, wrong):
    names, parameters, code = REFUSED[wrong]
    spec = {
        "sources": [sources[name] for name in names],
        "collection": "bad-input",
        "create_collection": True,
        **parameters,
    }
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))

    done = installation.run_here("submit", "process_raster", "--spec", str(file), "--json")

    assert done.returncode == 2, done.stderr
    findings = document(done)["error"]["findings"]
    errors = [finding for finding in findings if finding["severity"] == "error"]
    assert [finding["code"] for finding in errors] == [code]
    assert errors[0]["message"]
    assert errors[0]["hint"]


def test_the_exit_status_of_the_command_is_that_of_the_refusal(installation, sources, untouched):
    done = installation.geoetl("submit", "process_raster", sources["missing"], "--collection", "bad-input")

    assert done.returncode == 2
    assert "blob-missing" in done.stderr
    assert done.stdout == ""


def test_all_findings_are_told_at_once(installation, sources, untouched):
    bad = [sources[name] for name in ("missing", "empty", "text", "truncated", "no-crs")]

    done = installation.run_here("submit", "process_raster", *bad, "--collection", "nowhere-to-be-found", "--json")

    found = {(finding["code"], finding["parameter"]) for finding in document(done)["error"]["findings"]}
    assert found >= {
        ("blob-missing", "sources[0]"),
        ("blob-empty", "sources[1]"),
        ("not-a-raster", "sources[2]"),
        ("truncated", "sources[3]"),
        ("no-crs", "sources[4]"),
        ("collection-missing", "collection"),
    }


class TestFailsAtRun:
    """Found only by reading the pixels: exit status 1, a code and a hint, nothing published."""

    def _run(self, installation, ref):
        options = ("--collection", "fails-at-run", "-p", "create_collection=true", "--wait", "--json")
        done = installation.run_here("submit", "process_raster", ref, *options)
        return done, document(done)

    @pytest.fixture(autouse=True)
    def worker(self, a_worker):
        return a_worker

    @pytest.fixture(autouse=True)
    def nothing_published(self, installation):
        yield
        found = installation.services.catalogue.search({"collections": ["fails-at-run"]})
        assert found["features"] == []

    def test_a_corrupt_block(self, installation, tmp_path):
        ref = installation.put("bad-input/corrupt.tif", corrupt_a_block(write_raster(tmp_path / "corrupt.tif")))

        done, told = self._run(installation, ref)

        assert done.returncode == 1
        error = told["status"]["summary"]["error"]
        assert error["code"] == "corrupt-block", error
        assert "bronze://bronze/bad-input/corrupt.tif" in error["message"]
        assert error["hint"]

    def test_only_nodata(self, installation, tmp_path):
        import rasterio

        path = write_raster(tmp_path / "void.tif", nodata=0)
        with rasterio.open(path, "r+") as dst:
            dst.write(dst.read() * 0)
        ref = installation.put("bad-input/void.tif", path)

        done, told = self._run(installation, ref)

        assert done.returncode == 1
        assert told["status"]["summary"]["error"]["code"] == "only-nodata"


def test_a_source_that_was_replaced_after_the_submit_fails_the_job(installation, workers, tmp_path):
    ref = installation.put("bad-input/replaced.tif", write_raster(tmp_path / "first.tif", seed=1))
    done = installation.geoetl(
        "submit", "process_raster", ref, "--collection", "replaced", "-p", "create_collection=true", "--json"
    )
    job_id = document(done)["job_id"]
    installation.put("bad-input/replaced.tif", write_raster(tmp_path / "second.tif", seed=2))

    workers("reader")
    waited = installation.geoetl("job", "wait", job_id, "--json")

    assert waited.returncode == 1
    assert document(waited)["status"]["summary"]["error"]["code"] == "source-changed"
