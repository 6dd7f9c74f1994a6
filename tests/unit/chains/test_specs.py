"""What users may write in a specification, and what they are told when it is wrong."""

import datetime as dt

import pytest

from geoetl.chains.noop import Noop
from geoetl.chains.process_raster import ProcessRaster
from geoetl.chains.registry import parse_spec
from geoetl.errors import InvalidInput, PreflightFailed

ONE = {"sources": ["bronze://in-box/a.tif"], "collection": "demo"}


def findings(**parameters):
    with pytest.raises(PreflightFailed) as caught:
        parse_spec("process_raster", {**ONE, **parameters})
    return [(finding.code, finding.parameter) for finding in caught.value.findings]


def test_a_minimal_specification_is_enough():
    spec = parse_spec("process_raster", ONE)

    assert isinstance(spec, ProcessRaster)
    assert spec.ids == ("a",)


def test_a_misspelt_parameter_is_refused_with_the_right_spelling():
    with pytest.raises(PreflightFailed) as caught:
        parse_spec("process_raster", {**ONE, "nodatta": 0})

    (finding,) = caught.value.findings
    assert (finding.code, finding.parameter, finding.hint) == ("unknown-parameter", "nodatta", "Did you mean nodata?")


def test_an_unknown_parameter_lists_those_there_are():
    with pytest.raises(PreflightFailed) as caught:
        parse_spec("process_raster", {**ONE, "overwirte": True})

    assert "It takes: sources, collection" in caught.value.findings[0].hint


def test_all_problems_are_told_at_once():
    assert findings(sources="not a list", collection="no spaces", profile="zip", overwirte=1) == [
        ("bad-parameter", "sources"),
        ("bad-parameter", "collection"),
        ("bad-parameter", "profile"),
        ("unknown-parameter", "overwirte"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sources": []},
        {"sources": [f"bronze://in-box/{n}.tif" for n in range(10_001)]},
        {"sources": ["/tmp/a.tif"]},
        {"sources": ["silver://in-box/a.tif"]},
        {"sources": ["bronze://in-box/a.tif", "bronze://in-box/b/a.tif"]},
        {"sources": ["bronze://in-box/a.tif", "bronze://in-box/b.tif"], "item_ids": ["same", "same"]},
        {"item_ids": ["one", "two"]},
        {"item_ids": ["a/b"]},
        {"collection": ""},
        {"collection": 7},
        {"create_collection": "perhaps"},
        {"datetime": "2024-01-01T00:00:00"},
        {"datetime": "yesterday"},
        {"start_datetime": "2024-01-01T00:00:00Z"},
        {"start_datetime": "2024-02-01T00:00:00Z", "end_datetime": "2024-01-01T00:00:00Z"},
        {
            "datetime": "2024-01-01T00:00:00Z",
            "start_datetime": "2024-01-01T00:00:00Z",
            "end_datetime": "2024-01-02T00:00:00Z",
        },
        {"nodata": "none"},
        {"nodata": True},
        {"nodata": "inf"},
        {"nodata": float("-inf")},
        {"nodata": 2**53 + 1},
        {"source_crs": "EPSG:\0"},
        {"sources": ["bronze://in-box/./a.tif"]},
        {"sources": [f"bronze://in-box/{'a' * 200}.tif"]},
        {"sources": ["bronze://in-box/" + "é" * 3 + "x" * 130 + ".tif"]},
        {"resampling": "bicubic"},
    ],
    ids=",".join,
)
def test_a_wrong_value_is_refused(wrong):
    assert findings(**wrong)


def test_a_missing_parameter_is_named():
    with pytest.raises(PreflightFailed) as caught:
        parse_spec("process_raster", {"collection": "demo"})

    assert [(f.code, f.parameter) for f in caught.value.findings] == [("missing-parameter", "sources")]


def test_an_unknown_job_type_lists_those_there_are():
    with pytest.raises(InvalidInput, match="no job type 'vectors'"):
        parse_spec("vectors", {})


@pytest.mark.parametrize("given", ["nan", "NaN", float("nan")])
def test_not_a_number_is_a_word_as_json_has_none_for_it(given):
    assert parse_spec("process_raster", {**ONE, "nodata": given}).model_dump(mode="json")["nodata"] == "nan"


@pytest.mark.parametrize(
    ("given", "number"), [(0, 0.0), ("-9999", -9999.0), ("1e20", 1e20), (-(2**63), -9223372036854775808.0)]
)
def test_nodata_may_be_any_finite_number(given, number):
    assert parse_spec("process_raster", {**ONE, "nodata": given}).model_dump()["nodata"] == number


def test_a_wrong_nodata_is_one_problem_with_what_to_write():
    with pytest.raises(PreflightFailed) as caught:
        parse_spec("process_raster", {**ONE, "nodata": "none"})

    (finding,) = caught.value.findings
    assert (finding.parameter, finding.hint) == ("nodata", "write a number, or nan.")


def test_backslashes_are_no_nul_character():
    assert parse_spec("noop", {"name": "C:\\u0000 is a folder"}).model_dump()["name"] == "C:\\u0000 is a folder"


@pytest.mark.parametrize(("name", "item_id"), [("_a.tif", "a"), ("a_.tif", "a"), ("-._.tif", "item")])
def test_an_item_id_begins_and_ends_with_a_letter_or_digit(name, item_id):
    spec = ProcessRaster(sources=(f"bronze://in-box/{name}",), collection="demo")  # type: ignore[arg-type]

    assert spec.ids == (item_id,)


def test_item_ids_come_from_file_names():
    spec = ProcessRaster(sources=("bronze://in-box/x/Scene 7 (final).v2.tif",), collection="demo")  # type: ignore[arg-type]

    assert spec.ids == ("Scene-7-final-.v2",)


def test_times_keep_their_zone():
    spec = parse_spec("process_raster", {**ONE, "datetime": "2024-05-01T12:00:00+02:00"})

    assert spec.model_dump()["datetime"] == dt.datetime(2024, 5, 1, 10, tzinfo=dt.UTC)


def test_the_number_of_tasks_of_a_noop_job_is_limited():
    with pytest.raises(PreflightFailed):
        parse_spec("noop", {"tasks": -1})
    assert Noop().tasks == 3
