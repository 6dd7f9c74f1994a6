"""A STAC 1.1 item from a product: computed from what was written and read back, never from what was planned.

Extensions: projection 2.0, raster 2.0, file 2.1, processing 1.2 (https://stac-extensions.github.io).
"""

import datetime as dt
from typing import Any

import pystac
from rasterio.crs import CRS

from geoetl.gdal.compression import LOSSY
from geoetl.models.raster import BandFacts, BandStatistics, CogProduct, InspectOutput, ItemInput, RasterFacts
from geoetl.storage.base import BlobStore

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
RASTER = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"

#: numpy and GDAL names -> STAC's ``data_type``, where they differ.
_DATA_TYPES = {"complex64": "cfloat32", "complex128": "cfloat64", "complex_int16": "cint16", "bool": "uint8"}
#: Multihash (https://multiformats.io/multihash): function sha2-256, length 32, then the digest.
_MULTIHASH_SHA256 = "1220"


def build_item(
    item: ItemInput,
    *,
    collection: str,
    store: BlobStore,
    job_id: str,
    run_id: str,
    software: str,
    processed_at: dt.datetime,
) -> dict[str, Any]:
    """The item of one product, as a JSON document.

    Args:
        item: The product and what its inspection found.
        collection: Id of the collection it goes into.
        store: For the assets' hrefs (https, without a token: who serves them signs them).
        job_id: Provenance.
        run_id: Provenance.
        software: Name and version, for example ``geoetl 0.1.0``.
        processed_at: Time of the publication, in UTC.
    """
    product, facts = item.product, item.product.facts
    name, _, version = software.rpartition(" ")
    properties: dict[str, Any] = {
        **_projection(facts),
        "processing:lineage": _lineage(product),
        "processing:software": {name or software: version or "unknown", **product.software},
        "processing:datetime": _rfc3339(processed_at),
        **_source(item),
        "geoetl:job_id": job_id,
        "geoetl:run_id": run_id,
    }
    built = pystac.Item(
        id=item.item_id,
        geometry=product.footprint,
        bbox=list(product.bbox),
        datetime=item.inspected.datetime,
        start_datetime=item.inspected.start_datetime,
        end_datetime=item.inspected.end_datetime,
        properties=properties,
        stac_extensions=[PROJECTION, RASTER, FILE, PROCESSING],
        collection=collection,
    )
    built.add_asset("data", _data_asset(item, store))
    built.add_asset(
        "thumbnail",
        pystac.Asset(
            store.href(product.thumbnail),
            title="Thumbnail",
            media_type=pystac.MediaType.PNG,
            roles=["thumbnail"],
        ),
    )
    document = built.to_dict(include_self_link=False, transform_hrefs=False)
    # The schema asks for this link wherever an item names its collection. Relative to the item's address in any STAC
    # API (collections/C/items/I); the API that serves the item writes its own.
    document["links"] = [{"rel": "collection", "href": f"../../{collection}", "type": "application/json"}]
    document["links"] += [{"rel": "derived_from", "href": store.href(source)} for source in product.sources]
    return document


def _source(item: ItemInput) -> dict[str, Any]:
    if sources := item.product.sources:
        return {"geoetl:sources": [str(source) for source in sources]}
    return {
        "geoetl:source": str(item.product.source),
        "geoetl:source_etag": item.inspected.facts.blob.etag,
    }


def _data_asset(item: ItemInput, store: BlobStore) -> pystac.Asset:
    product = item.product
    return pystac.Asset(
        store.href(product.cog),
        title="Cloud Optimized GeoTIFF",
        media_type=pystac.MediaType.COG,
        roles=["data"],
        extra_fields={
            "file:size": product.size_bytes,
            **({"file:checksum": _MULTIHASH_SHA256 + product.sha256} if product.sha256 else {}),
            "bands": _bands(product, item.inspected),
        },
    )


def _projection(facts: RasterFacts) -> dict[str, Any]:
    # WKT2 where there is no code; both would only invite them to disagree.
    crs = {"proj:code": f"EPSG:{facts.epsg}"} if facts.epsg else {"proj:code": None, "proj:wkt2": facts.crs}
    fields: dict[str, Any] = {**crs, "proj:shape": [facts.height, facts.width]}
    if facts.transform is not None and facts.bounds is not None:
        fields |= {"proj:transform": list(facts.transform), "proj:bbox": list(facts.bounds)}
    return fields


def _bands(product: CogProduct, inspected: InspectOutput) -> list[dict[str, Any]]:
    # Statistics are the source's: they hold for the product only where its pixels are the source's.
    is_same = not product.is_reprojected and product.profile not in LOSSY
    statistics = inspected.statistics if is_same else (None,) * len(product.facts.bands)
    resolution = _resolution_m(product.facts)
    sampling = product.facts.tags.get("AREA_OR_POINT", "").lower()
    return [
        _band(index, band, numbers, resolution, sampling)
        for index, (band, numbers) in enumerate(zip(product.facts.bands, statistics, strict=True), start=1)
    ]


def _band(
    index: int, band: BandFacts, numbers: BandStatistics | None, resolution: float | None, sampling: str
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": f"b{index}",
        "description": band.description,
        "data_type": _DATA_TYPES.get(band.dtype, band.dtype),
        "nodata": band.nodata,
        "unit": band.unit,
        "statistics": numbers.model_dump() if numbers else None,
        "raster:bits_per_sample": band.bits,
        "raster:sampling": sampling if sampling in {"area", "point"} else None,
        "raster:spatial_resolution": resolution,
    }
    if (band.scale, band.offset) != (1.0, 0.0):
        fields |= {"raster:scale": band.scale, "raster:offset": band.offset}
    return {key: value for key, value in fields.items() if value not in (None, "")}


def _resolution_m(facts: RasterFacts) -> float | None:
    """Mean side of a pixel in metres; None where the CRS measures degrees (it would depend on the latitude)."""
    if facts.crs is None or facts.transform is None:
        return None
    crs = CRS.from_wkt(facts.crs)
    if not crs.is_projected:
        return None
    a, b, _, d, e, _ = facts.transform
    metres_per_unit = crs.linear_units_factor[1]
    return round(abs(a * e - b * d) ** 0.5 * metres_per_unit, 6)


def _lineage(product: CogProduct) -> str:
    facts = product.facts
    target = f"EPSG:{facts.epsg}" if facts.epsg else "another CRS"
    written = f"Cloud Optimized GeoTIFF (profile {product.profile}, overviews by {product.overview_resampling})"
    if product.sources:
        return (
            f"{len(product.sources)} sources on one grid became a {written}, validated strictly and compared to them."
        )
    how = f"reprojected to {target} and converted" if product.is_reprojected else "converted"
    return f"{product.source.name} was {how} to a {written}, validated strictly and compared with what it was made of."


def _rfc3339(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
