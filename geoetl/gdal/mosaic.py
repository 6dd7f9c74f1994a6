"""Do rasters fit on one grid, and where on it do they lie? From their headers alone, whole pixels only.

Nothing is resampled: a source that is half a pixel off is refused, not shifted.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from rasterio.crs import CRS
from rasterio.transform import Affine

from geoetl.errors import Finding
from geoetl.gdal.acquisition import Acquisition, resolve_datetime
from geoetl.gdal.compression import is_complex
from geoetl.models.mosaic import MosaicGrid, MosaicSource, OverlapRule
from geoetl.models.raster import RasterFacts
from geoetl.models.refs import BlobRef

#: Pixels by which a source may be off the common grid, over its whole width too: rounding of what wrote the files.
_TOLERANCE_PX = 1e-3
#: A mosaic that its sources cover less than this is a mistake: a source of another place, mostly.
_LEAST_COVERED = 0.01
#: GDAL composes in float64, which holds integers to 2**53.
_TOO_WIDE = {"int64", "uint64"}
#: Rules that compare values.
_CHOSEN: frozenset[OverlapRule] = frozenset({"highest", "lowest"})
#: An alpha band of another type is data to GDAL.
_ALPHA_TYPES = ("uint8", "uint16")
#: Of each band, what a mosaic has one of.
_BAND_FIELDS = (
    "dtype",
    "nodata",
    "color_interpretation",
    "unit",
    "scale",
    "offset",
    "bits",
    "description",
    "palette_digest",
)


@dataclass(frozen=True, slots=True)
class MosaicOptions:
    """What the job says."""

    overlap: OverlapRule = "last"
    nodata: float | str | None = None
    """In place of the sources' own."""
    source_crs: str | None = None
    """Of all sources; they have none, or this one."""


def misfits(refs: Sequence[BlobRef], headers: Sequence[RasterFacts], options: MosaicOptions) -> list[Finding]:
    """Why sources cannot be one mosaic: each finding names the source and both values."""
    found = [finding for at in range(len(refs)) for finding in _misfits(refs, headers, at, options)]
    return found or list(_whole_misfits(refs, headers, options))


def _misfits(
    refs: Sequence[BlobRef], headers: Sequence[RasterFacts], at: int, options: MosaicOptions
) -> Iterator[Finding]:
    first, model, ref, header, parameter = refs[0], headers[0], refs[at], headers[at], f"sources[{at}]"

    def misfit(code: str, what: str, one: object, other: object, hint: str) -> Finding:
        message = f"{ref} does not fit {first}: its {what} is {one}, that of the first source {other}."
        return Finding(code=code, message=message, hint=hint, parameter=parameter)

    if header.transform is None:
        yield Finding(
            code="mosaic-grid", parameter=parameter, message=f"{ref} has no geotransform, so it is on no grid.",
            hint="Rectify it first: process_raster with `target_crs`.",
        )  # fmt: skip
        return
    if problem := _mask_problem(header, options):
        yield Finding(code="mosaic-mask", parameter=parameter, message=f"{ref} {problem[0]}.", hint=problem[1])
    if options.source_crs is None and not _is_same_crs(header, model):
        yield misfit("mosaic-crs", "CRS", _crs(header), _crs(model), "Reproject all sources to one CRS first.")
    if len(header.bands) != len(model.bands):
        yield misfit("mosaic-bands", "number of bands", len(header.bands), len(model.bands), _SAME)
    else:
        for index, (band, other) in enumerate(zip(header.bands, model.bands, strict=True), start=1):
            for field in _BAND_FIELDS:
                one, two = getattr(band, field), getattr(other, field)
                if one != two and not (field == "nodata" and options.nodata is not None):
                    what = f"{field.replace('_', ' ')} of band {index}"
                    yield misfit("mosaic-bands", what, _shown(one), _shown(two), _SAME)
    assert model.transform is not None, "looked at first"
    if problem := _grid_problem(header, Affine(*header.transform), Affine(*model.transform)):
        what, one, two = problem
        yield misfit("mosaic-grid", what, one, two, "Resample all sources to one grid first (gdalwarp -tap).")


def _mask_problem(header: RasterFacts, options: MosaicOptions) -> tuple[str, str] | None:
    """What is wrong with a mask, and what to do."""
    if header.mask_kind not in {"alpha", "internal"}:
        return None
    kind = "an alpha band" if header.mask_kind == "alpha" else "an internal mask"
    own = next((band.nodata for band in header.bands if band.nodata is not None), None)
    nodata = options.nodata if options.nodata is not None else own
    if nodata is not None:
        return (
            f"marks pixels without data by {kind} and by nodata {nodata}; which of them counts depends on who reads it",
            "Leave `nodata` out of the job." if own is None else "Export the source with one of the two.",
        )
    dtype = next((band.dtype for band in header.bands if band.color_interpretation == "alpha"), None)
    if dtype is not None and dtype not in _ALPHA_TYPES:
        return (
            f"has an alpha band of {dtype}; GDAL knows transparency of {' and '.join(_ALPHA_TYPES)} only",
            "Write a nodata value or an internal mask instead (gdal_translate -mask).",
        )
    return None


_SAME = "All sources of a mosaic are alike; mend the one that differs, or leave it out."


def _shown(value: object) -> str:
    return repr(value) if isinstance(value, str) else str(value)


def _grid_problem(header: RasterFacts, own: Affine, model: Affine) -> tuple[str, object, object] | None:
    side = max(header.width, header.height)
    drift = max(
        abs(one - two)
        for one, two in zip((own.a, own.b, own.d, own.e), (model.a, model.b, model.d, model.e), strict=True)
    )
    pixel = max(abs(model.a), abs(model.b), abs(model.d), abs(model.e))
    if drift * side > _TOLERANCE_PX * pixel:
        return "resolution", _resolution(own), _resolution(model)
    column, row = ~model @ (own.c, own.f)
    if max(abs(column - round(column)), abs(row - round(row))) > _TOLERANCE_PX:
        off = f"({column - np.floor(column):.4g}, {row - np.floor(row):.4g}) pixels"
        return "grid phase", off, "(0, 0) pixels"
    return None


def _resolution(transform: Affine) -> str:
    linear = (transform.a, transform.e) if transform.is_rectilinear else tuple(transform)[:2] + tuple(transform)[3:5]
    return "(" + ", ".join(f"{number:.12g}" for number in linear) + ")"


def _is_same_crs(one: RasterFacts, other: RasterFacts) -> bool:
    if one.crs is None or other.crs is None:
        return one.crs == other.crs
    if one.epsg and other.epsg:
        return one.epsg == other.epsg
    return CRS.from_wkt(one.crs) == CRS.from_wkt(other.crs)


def _crs(facts: RasterFacts) -> str:
    if facts.epsg:
        return f"EPSG:{facts.epsg}"
    return facts.crs.split('"')[1] if facts.crs and '"' in facts.crs else "unknown"


def _whole_misfits(
    refs: Sequence[BlobRef], headers: Sequence[RasterFacts], options: MosaicOptions
) -> Iterator[Finding]:
    mosaic = lay_out(refs, headers, options)
    covered, _ = _coverage(mosaic.sources)
    area = mosaic.width * mosaic.height
    has_nodata = options.nodata is not None or headers[0].mask_kind == "nodata"
    size = f"{mosaic.width:,} x {mosaic.height:,} pixels"
    if covered < area * _LEAST_COVERED:
        far = max(mosaic.sources, key=lambda each: max(each.row, each.column))
        yield Finding(
            code="mosaic-sparse", parameter="sources",
            message=f"The sources cover {covered / area:.2%} of the {size} of their mosaic; {far.source} lies far off.",
            hint="Make a mosaic of each place, and check that the sources are those that are meant.",
        )  # fmt: skip
    elif covered < area and not has_nodata and mosaic.mask == "none":
        yield Finding(
            code="mosaic-gaps", parameter="sources",
            message=f"The sources leave {area - covered:,} of {size} of their mosaic empty, and have no nodata value.",
            hint="Set `nodata` in the job to the value that pixels without data shall have.",
        )  # fmt: skip
    if mosaic.has_overlap and options.overlap in _CHOSEN and is_complex(headers[0].bands[0]):
        yield Finding(
            code="mosaic-complex", parameter="sources",
            message=f"The sources overlap and are {headers[0].bands[0].dtype}: of complex numbers none is the "
            f"{options.overlap}.",
            hint="Use overlap `first` or `last`.",
        )  # fmt: skip
    is_composed = mosaic.has_overlap and (has_nodata or mosaic.mask != "none" or options.overlap in _CHOSEN)
    if is_composed and (wide := headers[0].bands[0].dtype) in _TOO_WIDE:
        yield Finding(
            code="mosaic-int64", parameter="sources",
            message=f"The sources overlap and are {wide}: GDAL composes in float64, which rounds beyond 2**53.",
            hint="Convert them to 32-bit integers or float64 first, or cut them so that they do not overlap.",
        )  # fmt: skip


def lay_out(refs: Sequence[BlobRef], headers: Sequence[RasterFacts], options: MosaicOptions) -> MosaicGrid:
    """The grid that holds all sources, which fit, and the place of each."""
    assert headers[0].transform is not None, "the sources fit"
    model = Affine(*headers[0].transform)
    corners: list[tuple[int, int]] = []
    for header in headers:
        assert header.transform is not None, "the sources fit"
        column, row = ~model @ (header.transform[2], header.transform[5])
        corners.append((round(column), round(row)))
    left, top = min(column for column, _ in corners), min(row for _, row in corners)
    sources = tuple(
        MosaicSource(
            source=ref, etag=header.blob.etag, column=column - left, row=row - top, width=header.width,
            height=header.height,
        )
        for ref, header, (column, row) in zip(refs, headers, corners, strict=True)
    )  # fmt: skip
    origin = model @ Affine.translation(left, top)
    shared = set.intersection(*(set(header.tags.items()) for header in headers))
    return MosaicGrid(
        width=max(each.column + each.width for each in sources),
        height=max(each.row + each.height for each in sources),
        transform=(origin.a, origin.b, origin.c, origin.d, origin.e, origin.f),
        overlap=options.overlap,
        has_overlap=_coverage(sources)[1],
        mask=_mask_of(headers),
        tags=dict(sorted(shared)),
        sources=sources,
    )


def _mask_of(headers: Sequence[RasterFacts]) -> Literal["none", "alpha", "internal"]:
    kinds = {header.mask_kind for header in headers}
    if "alpha" in kinds:
        return "alpha"
    # A source without a mask is valid everywhere.
    return "internal" if "internal" in kinds else "none"


def _coverage(sources: Sequence[MosaicSource]) -> tuple[int, bool]:
    """Pixels that any source covers, and whether two cover the same."""
    columns = np.unique([edge for each in sources for edge in (each.column, each.column + each.width)])
    rows = np.unique([edge for each in sources for edge in (each.row, each.row + each.height)])
    cells = np.zeros((len(rows) - 1, len(columns) - 1), dtype=np.uint16)
    for each in sources:
        down = slice(*np.searchsorted(rows, (each.row, each.row + each.height)))
        across = slice(*np.searchsorted(columns, (each.column, each.column + each.width)))
        cells[down, across] += 1
    areas = np.diff(rows)[:, None] * np.diff(columns)[None, :]
    return int(areas[cells > 0].sum()), bool((cells > 1).any())


def mosaic_header(headers: Sequence[RasterFacts], mosaic: MosaicGrid) -> RasterFacts:
    """The mosaic as if it were one raster."""
    model = headers[0]
    a, b, c, d, e, f = mosaic.transform
    corners = [Affine(a, b, c, d, e, f) @ (x, y) for x in (0, mosaic.width) for y in (0, mosaic.height)]
    xs, ys = [x for x, _ in corners], [y for _, y in corners]
    others = [header.driver for header in headers if header.driver != "GTiff"]
    is_striped = all(header.block_shape[1] >= header.width == mosaic.width for header in headers)
    return model.model_copy(
        update={
            "driver": others[0] if others else "GTiff",
            "width": mosaic.width,
            "height": mosaic.height,
            "transform": mosaic.transform,
            "bounds": (min(xs), min(ys), max(xs), max(ys)),
            "block_shape": (1, mosaic.width) if is_striped else (512, 512),
            "tags": mosaic.tags,
            "mask_kind": model.mask_kind if mosaic.mask == "none" else mosaic.mask,
            "blob": model.blob.model_copy(update={"size_bytes": sum(header.blob.size_bytes for header in headers)}),
        }
    )


def mosaic_datetime(
    refs: Sequence[BlobRef],
    headers: Sequence[RasterFacts],
    *,
    instant: dt.datetime | None,
    start: dt.datetime | None,
    end: dt.datetime | None,
) -> Acquisition:
    """When the data was acquired: as the job says; else the sources' one instant, or from the first to the last.

    Raises:
        BadData: ``no-datetime`` or ``invalid-datetime``.
    """
    each = [
        resolve_datetime(header.datetime_tag, ref, instant=instant, start=start, end=end)
        for ref, header in zip(refs, headers, strict=True)
    ]
    instants = sorted({one.instant for one in each if one.instant})
    return each[0] if len(instants) <= 1 else Acquisition(start=instants[0], end=instants[-1])
