from dataclasses import dataclass
from typing import cast

import pytest
from pydantic import BaseModel

from geoetl.preflight.checks import PreflightReport, Services
from geoetl.preflight.collections import collection_exists, ids_are_valid
from geoetl.preflight.runner import run_checks
from geoetl.storage.base import BlobStore


class Spec(BaseModel):
    collection: str = "scenes"
    create_collection: bool = False
    item_ids: tuple[str, ...] | None = None


@dataclass(frozen=True)
class KnownCollections:
    names: frozenset[str]

    def has_collection(self, collection: str) -> bool:
        return collection in self.names


def check(spec: Spec) -> PreflightReport:
    services = Services(store=cast("BlobStore", None), collections=KnownCollections(frozenset({"scenes"})))
    checks = (collection_exists("collection", create_option="create_collection"), ids_are_valid("item_ids"))
    return run_checks(checks, spec, services)


def test_collection_that_exists_is_accepted():
    report = check(Spec())
    assert report.findings == ()
    assert report.facts == {"collection-exists": {"collection": True}}


def test_collection_that_may_be_created_is_accepted():
    report = check(Spec(collection="new", create_collection=True))
    assert report.findings == ()
    assert report.facts == {"collection-exists": {"collection": False}}


def test_missing_collection_is_found_with_both_ways_out():
    (finding,) = check(Spec(collection="new")).findings
    assert (finding.code, finding.parameter) == ("collection-missing", "collection")
    assert "geoetl collection create new" in finding.hint
    assert "create_collection" in finding.hint


@pytest.mark.parametrize("bad", ["", "a/b", "a b", ".hidden", "ends.", "ü", "a:b", "a%20b", "x" * 129, "a\n"])
def test_id_that_means_something_else_in_an_address_is_found(bad: str):
    report = check(Spec(collection=bad, create_collection=True, item_ids=("good", bad)))
    assert [(finding.code, finding.parameter) for finding in report.findings] == [
        ("id-invalid", "collection"),
        ("id-invalid", "item_ids[1]"),
    ]
    assert repr(bad) in report.findings[0].message


@pytest.mark.parametrize("good", ["a", "S2A_MSIL2A.20240501-T31", "x" * 128, "0.1"])
def test_ordinary_id_is_accepted(good: str):
    assert check(Spec(item_ids=(good,))).findings == ()
