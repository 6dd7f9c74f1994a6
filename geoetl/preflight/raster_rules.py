"""Rules for rasters: what the facts of one source and the options of the job allow. No I/O.

The table of what is accepted, accepted with a warning, and refused, with reasons, is ``docs/reference/rasters.md``.
"""

import datetime as dt
from dataclasses import dataclass

from rasterio.crs import CRS

from geoetl.errors import BadData, Finding, GeoEtlError, InvalidInput
from geoetl.gdal.acquisition import resolve_datetime
from geoetl.gdal.compression import profile_problem, resampling_problem
from geoetl.gdal.footprint import footprint
from geoetl.gdal.header import crs_wkt, is_map, nodata_value, unable
from geoetl.gdal.reprojection import require_reprojectable, require_usable_nodata
from geoetl.gdal.sources import parse_crs
from geoetl.models.raster import ProfileName, RasterFacts, ResamplingName


@dataclass(frozen=True, slots=True)
class RasterOptions:
    """What the job says about a source, as far as checks need it."""

    source_crs: str | None = None
    target_crs: str | None = None
    profile: ProfileName = "auto"
    resampling: ResamplingName | None = None
    nodata: float | str | None = None
    """A number or ``nan``."""
    datetime: dt.datetime | None = None
    start_datetime: dt.datetime | None = None
    end_datetime: dt.datetime | None = None


def check_facts(facts: RasterFacts, ref: str, options: RasterOptions) -> list[Finding]:
    """All that is wrong, or worth a warning, with a raster of these facts under these options. No I/O."""
    if not facts.bands or facts.subdatasets:
        # Nothing else is worth saying about a container.
        return [_container(facts, ref)]
    findings = [*_crs_findings(facts, ref, options), *_profile_findings(facts, ref, options)]
    findings += _nodata_findings(facts, ref, options)
    findings += _warnings(facts, ref, options)
    try:
        resolve_datetime(
            facts.datetime_tag,
            ref,
            instant=options.datetime,
            start=options.start_datetime,
            end=options.end_datetime,
        )
    except BadData as exc:
        findings.append(_of(exc))
    return findings


def _container(facts: RasterFacts, ref: str) -> Finding:
    names = ", ".join(name.rpartition(":")[2] for name in facts.subdatasets[:5])
    return Finding(
        code="several-subdatasets",
        message=f"{ref} holds {len(facts.subdatasets)} images of its own ({names}); which of them is meant is unknown.",
        hint="Export each image to a GeoTIFF of its own (gdal_translate) and give them as sources.",
    )


def _crs_findings(facts: RasterFacts, ref: str, options: RasterOptions) -> list[Finding]:
    findings: list[Finding] = []
    try:
        given = parse_crs(options.source_crs, "source_crs") if options.source_crs else None
        target = parse_crs(options.target_crs, "target_crs") if options.target_crs else None
    except InvalidInput as exc:
        return [_of(exc)]
    own = CRS.from_wkt(facts.crs) if facts.crs else None
    if own is not None and given is not None and not is_map(own):
        own = None
    if own is None and given is None:
        findings.append(
            Finding(
                code="no-crs",
                message=f"Reading the header of {ref} found no CRS, and the job gives none.",
                hint="Set `source_crs` in the job, or georeference the file.",
            )
        )
    if own is not None and given is not None and not _is_same_crs(own, given):
        findings.append(
            Finding(
                code="crs-contradiction",
                message=f"The job gives source_crs {options.source_crs} for {ref}; the file has {_name(own, facts)}.",
                hint="Leave `source_crs` out if the file is right (`target_crs` reprojects); correct the file if not.",
            )
        )
        return findings
    if facts.transform is None and not facts.gcp_count:
        findings.append(
            Finding(
                code="no-geotransform",
                message=f"Reading the header of {ref} found neither a geotransform nor ground control points.",
                hint="Georeference the file (gdal_edit.py -a_ullr ...): where it lies is never guessed.",
            )
        )
        return findings
    crs = own or given
    if crs is not None:
        placed = facts.model_copy(update={"crs": crs_wkt(crs)})
        findings += _placement_findings(placed, ref, target, options)
    return findings


def _placement_findings(facts: RasterFacts, ref: str, target: CRS | None, options: RasterOptions) -> list[Finding]:
    try:
        footprint(facts, ref)
        if target is not None:
            require_reprojectable(facts, target, str(options.target_crs), ref)
    except GeoEtlError as exc:
        return [_of(exc)]
    return []


def _profile_findings(facts: RasterFacts, ref: str, options: RasterOptions) -> list[Finding]:
    has_nodata = options.nodata is not None or any(band.nodata is not None for band in facts.bands)
    findings: list[Finding] = []
    if problem := profile_problem(options.profile, facts, has_nodata=has_nodata):
        message = f"Writing {ref} with profile {options.profile} is not possible: {problem}."
        hint = "Use profile `auto`, which is lossless and holds every raster."
        findings.append(Finding(code="profile-unsuitable", message=message, hint=hint))
    if problem := resampling_problem(options.resampling, facts):
        message = f"Writing {ref} with resampling {options.resampling} is not possible: {problem}."
        hint = "Leave `resampling` out, or use one of those."
        findings.append(Finding(code="resampling-unsuitable", message=message, hint=hint))
    return findings


def _nodata_findings(facts: RasterFacts, ref: str, options: RasterOptions) -> list[Finding]:
    value = nodata_value(options.nodata)
    if value is None:
        if options.target_crs is None:
            return []
        try:
            require_usable_nodata(facts, ref)
        except BadData as exc:
            return [_of(exc)]
        return []
    if not (names := unable(facts.bands, value)):
        return []
    return [
        Finding(
            code="nodata-out-of-range",
            message=f"The job gives nodata {options.nodata} for {ref}, which {names} cannot hold.",
            hint="Give a value of the bands' data type, or leave `nodata` out.",
        )
    ]


def _warnings(facts: RasterFacts, ref: str, options: RasterOptions) -> list[Finding]:
    findings: list[Finding] = []
    if facts.gcp_count and facts.transform is None:
        message = f"{ref} is placed by {facts.gcp_count} ground control points only: its footprint is approximate."
        hint = "Set `target_crs` to have it rectified; without, the points are kept and the pixels stay as they are."
        findings.append(Finding(code="gcps-only", message=message, hint=hint, severity="warning"))
    if facts.lost_domains:
        message = f"{ref} has metadata of other software ({', '.join(facts.lost_domains)}) that a COG does not keep."
        hint = "The source keeps it; nothing else is lost."
        findings.append(Finding(code="metadata-not-kept", message=message, hint=hint, severity="warning"))
    if options.target_crs and any(band.dtype in {"int64", "uint64"} for band in facts.bands):
        message = f"Reprojecting {ref} rounds 64-bit integers beyond 2**53, as GDAL computes in float64."
        findings.append(Finding(code="int64-rounded", message=message, severity="warning"))
    return findings


def _is_same_crs(one: CRS, other: CRS) -> bool:
    codes = one.to_epsg(confidence_threshold=100), other.to_epsg(confidence_threshold=100)
    return one == other or (codes[0] is not None and codes[0] == codes[1])


def _name(crs: CRS, facts: RasterFacts) -> str:
    if facts.epsg:
        return f"EPSG:{facts.epsg}"
    wkt = crs.to_wkt()
    return wkt.split('"')[1] if '"' in wkt else "another"


def _of(exc: GeoEtlError) -> Finding:
    return Finding(code=exc.code, message=exc.message, hint=exc.hint)
