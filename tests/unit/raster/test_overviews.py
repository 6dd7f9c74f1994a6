"""Overviews do not depend on how a level was cut; what they are is compared with GDAL's in the integration tests."""

import numpy as np
import pytest

from geoetl.tasks.raster.cog.axis import Axis
from geoetl.tasks.raster.cog.layout import CogLayout, LevelSpan, Span
from geoetl.tasks.raster.cog.nodata import beside_nodata, is_nodata
from geoetl.tasks.raster.cog.overviews import OverviewRule, reduce
from geoetl.tasks.raster.cog.pixels import Pixels
from geoetl.tasks.raster.cog.pyramid import build_pyramid

RNG = np.random.default_rng(20240501)


def whole(pixels: Pixels, rule: OverviewRule) -> Pixels:
    axes = [Axis(size, max(1, size // 2), 0, Span(0, max(1, size // 2))) for size in (pixels.height, pixels.width)]
    return reduce(pixels, *axes, rule)


def one(values, dtype="uint8", **rule):
    pixels = Pixels(np.array([values], dtype=dtype))
    return whole(pixels, OverviewRule("average", **rule)).values[0].tolist()


def test_four_pixels_are_averaged_and_halves_go_up():
    assert one([[1, 2], [3, 4]]) == [[3]]
    assert one([[1, 2], [3, 4]], "float32") == [[2.5]]
    assert one([[-1, -2], [-3, -4]], "int16") == [[-3]]


def test_odd_sizes_weight_the_pixels_that_are_covered_in_part():
    # One pixel covers the three columns; of five columns, the first covers 2.5.
    assert one([[0, 30, 60]], "float64") == [[30.0]]
    assert one([[0, 0, 100, 0, 0]], "float64") == [[20.0, 20.0]]


def test_nodata_does_not_count_and_fills_what_has_nothing_else():
    assert one([[9, 9, 1, 9], [9, 9, 9, 3]], mask_kind="nodata", nodata=9) == [[9, 2]]
    # An average that is the nodata value by chance is moved beside it.
    assert one([[8, 10], [8, 10]], mask_kind="nodata", nodata=9) == [[10]]


@pytest.mark.parametrize("side", [64, 65])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_gap_changes_only_the_pixels_that_cover_it(side, dtype):
    values = RNG.integers(1, 60_000, (1, side, side)).astype(dtype)
    rule = OverviewRule("average", "nodata", nodata=0)
    without = whole(Pixels(values.copy()), rule).values
    values[0, 20, 20] = 0

    made = whole(Pixels(values), rule).values

    rows, columns = np.nonzero((made != without)[0])
    assert set(rows) <= {9, 10}
    assert set(columns) <= {9, 10}
    assert len(rows) > 0


def test_transparent_pixels_do_not_count():
    pixels = Pixels(np.array([[[10, 200], [30, 200]], [[255, 0], [255, 0]]], dtype="uint8"))

    made = whole(pixels, OverviewRule("average", "alpha", alpha=1))

    assert made.values.ravel().tolist() == [20, 255]


def test_an_internal_mask_is_valid_where_any_pixel_is():
    mask = np.array([[255, 0, 0, 0], [0, 0, 0, 0]], dtype="uint8")
    pixels = Pixels(np.array([[[10, 20, 30, 40], [50, 60, 70, 80]]], dtype="uint8"), mask)

    made = whole(pixels, OverviewRule("average", "internal"))

    assert made.values.tolist() == [[[10, 0]]]
    assert made.mask.tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [
        ("uint8", 255, 254), ("uint8", 7, 8), ("int16", 32767, 32766),
        ("float32", -9999.0, float(np.nextafter(np.float32(-9999), np.float32(0)))),
    ],
)  # fmt: skip
def test_the_value_beside_nodata(dtype, nodata, expected):
    assert beside_nodata(np.dtype(dtype), nodata) == expected


def test_a_nodata_value_that_the_type_cannot_hold_matches_nothing():
    values = np.arange(256, dtype="uint8")

    assert not is_nodata(values, -9999).any()
    assert not is_nodata(values, 0.5).any()
    assert not is_nodata(values, None).any()
    assert is_nodata(np.array([np.nan, 1.0]), float("nan")).tolist() == [True, False]


def test_floats_next_to_the_nodata_value_are_nodata_too():
    nodata = np.float32(-9999)
    near, far = np.nextafter(nodata, np.float32(0)), np.float32(-9998.9)

    assert is_nodata(np.array([nodata, near, far], dtype="float32"), -9999.0).tolist() == [True, True, False]


@pytest.mark.parametrize("rows_at_once", [1, 7, 64, 1000])
@pytest.mark.parametrize("resampling", ["average", "nearest"])
@pytest.mark.parametrize("side", [(203, 517), (256, 512), (130, 1)])
def test_a_pyramid_is_the_same_however_its_rows_come(side, resampling, rows_at_once):
    height, width = side
    layout = CogLayout(width, height, 2, band_rows=64, blocksize=64)
    pixels = Pixels(RNG.integers(0, 60_000, (1, height, width)).astype("uint16"))
    rule = OverviewRule(resampling)
    expected = [pixels]
    for level in range(layout.last_level):
        axes = [
            Axis(sizes[level], sizes[level + 1], 0, Span(0, sizes[level + 1]))
            for sizes in (layout.heights, layout.widths)
        ]
        expected.append(reduce(expected[-1], *axes, rule))

    made = {level: [] for level in range(layout.last_level + 1)}
    stream = build_pyramid(
        layout,
        [LevelSpan(Span(0, size), size) for size in layout.heights],
        [LevelSpan(Span(0, size), size) for size in layout.widths],
        rule,
        first_level=0,
        take_tiles=lambda level, row, column, part: made[level].append((row, part.copy())),
    )
    for top in range(0, height, rows_at_once):
        stream.push(pixels.cut(top, min(height, top + rows_at_once)))

    for level, parts in made.items():
        assert [row for row, _ in parts] == list(range(layout.tiles_down(level)))
        np.testing.assert_array_equal(
            np.concatenate([part.values for _, part in parts], axis=1), expected[level].values, strict=True
        )
