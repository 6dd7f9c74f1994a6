"""Preflight against a real store."""

import re
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from geoetl.errors import PreflightFailed
from geoetl.models.raster import BlobFacts
from geoetl.models.refs import BlobRef
from geoetl.preflight.blobs import BLOB_EXISTS_WITH_SIZE, blob_exists_with_size
from geoetl.preflight.checks import CannotCheckNow, PreflightReport, Services
from geoetl.preflight.collections import collection_exists
from geoetl.preflight.runner import run_checks
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess

CHECKS = (blob_exists_with_size("sources"), collection_exists("collection"))


class Spec(BaseModel):
    sources: tuple[BlobRef, ...]
    collection: str = "scenes"


@dataclass(frozen=True)
class OneCollection:
    def has_collection(self, collection: str) -> bool:
        return collection == "scenes"


@pytest.fixture
def store(azurite: str) -> Generator[AzureBlobStore]:
    store = AzureBlobStore({"bronze": TierAccess(connection_string=azurite)}, retries=0)
    yield store
    store.close()


@pytest.fixture
def folder() -> str:
    return f"bronze://bronze/preflight-{uuid.uuid4().hex[:8]}"


def preflight(store: AzureBlobStore, spec: Spec) -> PreflightReport:
    return run_checks(CHECKS, spec, Services(store=store, collections=OneCollection(), max_source_bytes=1000))


def test_every_problem_is_found_at_once_and_facts_are_kept(store: AzureBlobStore, folder: str):
    sizes = {"good.tif": 1000, "empty.tif": 0, "large.tif": 1001}
    for name, size in sizes.items():
        store.upload(BlobRef(f"{folder}/{name}"), bytes(size), content_type="image/tiff")
    sources = [f"{folder}/{name}" for name in ("good.tif", "missing.tif", "empty.tif", "large.tif")]
    spec = Spec(sources=(*map(BlobRef, sources), BlobRef("bronze://no-such-container/a.tif")), collection="unknown")

    report = preflight(store, spec)

    assert [(finding.parameter, finding.code) for finding in report.findings] == [
        ("sources[1]", "blob-missing"),
        ("sources[2]", "blob-empty"),
        ("sources[3]", "blob-too-large"),
        ("sources[4]", "container-missing"),
        ("collection", "collection-missing"),
    ]
    for finding, named in zip(report.findings[:3], sources[1:], strict=True):
        assert named in finding.message
        assert finding.hint
    fact = report.facts[BLOB_EXISTS_WITH_SIZE]["sources[0]"]
    assert isinstance(fact, BlobFacts)
    assert (fact.size_bytes, fact.etag) == (1000, store.properties(BlobRef(sources[0])).etag)
    with pytest.raises(PreflightFailed, match="5 problems"):
        report.require_accepted()


def test_many_sources_are_checked_and_accepted(store: AzureBlobStore, folder: str):
    ref = BlobRef(f"{folder}/a.tif")
    store.upload(ref, b"x", content_type="image/tiff")
    report = preflight(store, Spec(sources=(ref,) * 500))
    report.require_accepted()
    assert len(report.facts[BLOB_EXISTS_WITH_SIZE]) == 500


def test_store_that_is_away_is_cannot_check_now_and_soon(azurite: str, folder: str):
    nobody_listens = re.sub(r"(BlobEndpoint=http://127.0.0.1):\d+", r"\1:9", azurite)
    store = AzureBlobStore({"bronze": TierAccess(connection_string=nobody_listens)}, retries=0)
    started = time.monotonic()
    report = preflight(store, Spec(sources=(BlobRef(f"{folder}/a.tif"),) * 10_000))
    store.close()
    assert report.findings == ()
    with pytest.raises(CannotCheckNow, match="blob-exists-with-size cannot be checked now"):
        report.require_accepted()
    assert time.monotonic() - started < 10
