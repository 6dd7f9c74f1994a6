"""Pure rules: formats, times, profiles, findings."""

import datetime as dt
import re

import pytest

from geoetl.errors import BadData
from geoetl.gdal.acquisition import parse_tiff_datetime, resolve_datetime
from geoetl.gdal.compression import profile_problem
from geoetl.gdal.formats import sniff
from geoetl.gdal.header import band_holds, nodata_value, nodata_word
from geoetl.models.raster import BandFacts
from geoetl.preflight.raster_rules import RasterOptions, check_facts
from geoetl.tasks.raster.profiles import choose_profile

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
COLORS = [BandFacts(dtype="uint8", color_interpretation=name) for name in ("red", "green", "blue")]
LATER = dt.datetime(2024, 5, 2, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"])
def test_every_kind_of_tiff_is_known_by_its_first_bytes(head):
    assert sniff(head + b"rest").driver == "GTiff"


def test_a_vrt_is_known_under_any_byte_order_mark():
    for head in (b"<VRTDataset>", b"\xef\xbb\xbf<VRTDataset>", "\ufeff<VRTDataset>".encode("utf-16-be")):
        assert sniff(head).points_elsewhere


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024:05:01 12:00:00", NOON),
        ("2024-05-01T12:00:00Z", NOON),
        ("2024-05-01T14:00:00+02:00", NOON),
        ("2024:05:01 12:00:00\0", NOON),
        ("0000:00:00 00:00:00", None),
        ("    :  :     :  :  ", None),
        ("last summer", None),
        ("", None),
    ],
)
def test_tiff_times(text, expected):
    assert parse_tiff_datetime(text) == expected


def test_the_jobs_time_wins_over_the_files():
    assert resolve_datetime("2020:01:01 00:00:00", "x", instant=NOON).instant == NOON


def test_the_files_time_is_used_where_the_job_gives_none():
    assert resolve_datetime("2024:05:01 12:00:00", "x").instant == NOON


def test_start_and_end_leave_no_instant_even_with_a_tag():
    found = resolve_datetime("2020:01:01 00:00:00", "x", start=NOON, end=LATER)
    assert (found.instant, found.start, found.end) == (None, NOON, LATER)


def test_no_time_is_never_guessed():
    with pytest.raises(BadData, match="the job gives none, and its TIFF tag DateTime is 'soon'") as caught:
        resolve_datetime("soon", "bronze://raw/a.tif")
    assert caught.value.code == "no-datetime"


@pytest.mark.parametrize("given", [{"start": LATER, "end": NOON}, {"start": NOON}, {"instant": NOON, "end": LATER}])
def test_times_that_contradict_each_other_are_refused(given):
    with pytest.raises(BadData) as caught:
        resolve_datetime("", "x", **given)
    assert caught.value.code == "invalid-datetime"


@pytest.mark.parametrize(
    ("profile", "bands", "has_nodata", "is_possible"),
    [
        ("auto", [BandFacts(dtype="complex64")], False, True),
        ("lerc", [BandFacts(dtype="float32")], True, True),
        ("lerc", [BandFacts(dtype="int64")], False, False),
        ("lerc", [BandFacts(dtype="uint8", bits=1)], False, False),
        ("jpeg", COLORS, False, True),
        ("jpeg", [BandFacts(dtype="uint8")], False, True),
        ("jpeg", COLORS[::-1], False, False),
        ("jpeg", [BandFacts(dtype="uint8")] * 3, False, False),
        ("jpeg", [BandFacts(dtype="uint8")] * 2, False, False),
        ("jpeg", [BandFacts(dtype="uint16")], False, False),
        ("jpeg", [BandFacts(dtype="uint8")], True, False),
        ("jpeg", [BandFacts(dtype="uint8", has_palette=True)], False, False),
        ("webp", [BandFacts(dtype="uint8")] * 3, False, True),
        ("webp", [BandFacts(dtype="uint8")] * 4, False, False),
        ("webp", [BandFacts(dtype="uint8")], False, False),
    ],
)
def test_which_profile_holds_which_bands(facts_of, profile, bands, has_nodata, is_possible):
    assert (profile_problem(profile, facts_of(*bands), has_nodata=has_nodata) is None) is is_possible


def test_webp_holds_rgb_with_alpha(facts_of):
    assert (
        profile_problem("webp", facts_of(*[BandFacts(dtype="uint8")] * 4, mask_kind="alpha"), has_nodata=False) is None
    )


@pytest.mark.parametrize(
    ("band", "predictor", "overviews"),
    [
        (BandFacts(dtype="uint16"), "YES", "average"),
        (BandFacts(dtype="float64"), "YES", "average"),
        (BandFacts(dtype="float16"), "NO", "average"),
        (BandFacts(dtype="uint8", has_palette=True), "NO", "nearest"),
        (BandFacts(dtype="uint8", bits=1), "NO", "nearest"),
        (BandFacts(dtype="uint16", bits=12), "NO", "average"),
        (BandFacts(dtype="complex_int16"), "NO", "nearest"),
    ],
)
def test_options_follow_the_data_type(facts_of, band, predictor, overviews):
    profile = choose_profile("auto", facts_of(band), "x", threads=2)
    assert profile.options["COMPRESS"] == "ZSTD"
    assert profile.options["PREDICTOR"] == predictor
    assert profile.options["OVERVIEW_RESAMPLING"] == overviews
    assert profile.options.get("NBITS") == (str(band.bits) if band.bits else None)


def test_a_resampling_that_is_asked_for_is_used(facts_of):
    profile = choose_profile("deflate", facts_of(), "x", threads=1, resampling="mode")
    assert (profile.overview_resampling, profile.warp_resampling) == ("mode", "mode")


@pytest.mark.parametrize(("value", "word"), [(None, None), (0.0, 0), (float("nan"), "nan"), (float("-inf"), "-inf")])
def test_nodata_words_go_there_and_back(value, word):
    assert nodata_word(value, "uint8") == word
    assert repr(nodata_value(word)) == repr(0 if word == 0 else value)


@pytest.mark.parametrize(
    ("dtype", "bits", "value", "holds"),
    [("uint8", None, 255, True), ("uint8", None, 256, False), ("uint8", None, 0.5, False),
     ("int16", None, float("nan"), False), ("float32", None, float("nan"), True), ("float32", None, 1e20, True),
     ("float32", None, 1e39, False), ("float32", None, float("-inf"), True), ("float64", None, 1e39, True),
     ("uint16", 12, 4095, True), ("uint16", 12, 4096, False), ("uint8", 1, 2, False), ("int64", None, -9999, True),
     ("int64", None, -(2.0**53), True), ("int64", None, -(2.0**63), False), ("uint64", None, 2.0**53 + 2, False)],
)  # fmt: skip
def test_which_nodata_a_band_holds(dtype, bits, value, holds):
    assert band_holds(BandFacts(dtype=dtype, bits=bits), value) is holds


@pytest.mark.parametrize(
    ("band", "named"),
    [(BandFacts(dtype="uint16", bits=12), "uint16 of 12 bits"), (BandFacts(dtype="int64"), "int64 beyond 2\\*\\*53")],
)
def test_a_nodata_of_the_job_that_would_become_another_is_found(facts_of, band, named):
    options = RasterOptions(datetime=NOON, nodata=1e18)
    [finding] = check_facts(facts_of(band), "a", options)
    assert finding.code == "nodata-out-of-range"
    assert re.search(named, finding.message)


@pytest.mark.parametrize(
    "band",
    [
        BandFacts(dtype="uint16", bits=12, nodata=65535),
        BandFacts(dtype="int64", nodata=-(2**63)),
        # What rasterio says of 2**63 - 1, which as a float lies outside of its type.
        BandFacts(dtype="int64"),
        BandFacts(dtype="uint8", nodata=1.5),
    ],
)
def test_a_nodata_of_the_file_that_would_become_another_is_not_reprojected(facts_of, band):
    facts = facts_of(band, mask_kind="nodata")
    [finding] = _errors(check_facts(facts, "a", RasterOptions(datetime=NOON, target_crs="EPSG:4326")))
    assert finding.code == "nodata-out-of-range"
    for options in ({"target_crs": "EPSG:4326", "nodata": 7}, {}):
        assert _errors(check_facts(facts, "a", RasterOptions(datetime=NOON, **options))) == []


def _errors(findings):
    return [finding for finding in findings if finding.severity == "error"]


def test_a_sound_source_has_no_findings(facts_of):
    assert check_facts(facts_of(), "bronze://raw/a.tif", RasterOptions(datetime=NOON)) == []


def test_the_same_crs_in_other_words_is_no_contradiction(facts_of):
    wkt = facts_of().crs
    assert check_facts(facts_of(), "a", RasterOptions(datetime=NOON, source_crs=wkt)) == []


def test_a_crs_nobody_knows_is_told(facts_of):
    [finding] = check_facts(facts_of(), "a", RasterOptions(datetime=NOON, target_crs="EPSG:0"))
    assert finding.code == "invalid-crs"
    assert "target_crs 'EPSG:0'" in finding.message


def test_warnings_are_not_errors(facts_of):
    gcps = {"transform": None, "bounds": None, "gcp_count": 4, "approximate_transform": (300.0, 0, 1e5, 0, -300, 28e5)}
    facts = facts_of(BandFacts(dtype="int64"), lost_domains=("RPC2",), **gcps)
    findings = check_facts(facts, "a", RasterOptions(datetime=NOON, target_crs="EPSG:4326"))
    assert [(f.code, f.severity) for f in findings] == [
        ("gcps-only", "warning"), ("metadata-not-kept", "warning"), ("int64-rounded", "warning"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "resampling", "is_possible"),
    [
        ("complex64", "cubic", False),
        ("complex64", "average", True),
        ("complex64", None, True),
        ("int16", "cubic", True),
    ],
)
def test_complex_bands_take_no_kernel(facts_of, dtype, resampling, is_possible):
    options = RasterOptions(datetime=NOON, resampling=resampling)
    found = {finding.code for finding in check_facts(facts_of(BandFacts(dtype=dtype)), "a", options)}
    assert found == (set() if is_possible else {"resampling-unsuitable"})
