"""Where products go. A path names the run that writes it: nothing is overwritten, and a stale write hits nobody."""

from geoetl.models.refs import BlobRef, RunId

#: Beside the COG, for the item's ``thumbnail`` asset.
THUMBNAIL_SUFFIX = ".thumbnail.png"


def cog_ref(container: str, collection: str, item_id: str, run_id: RunId, *, attempt: int | None = None) -> BlobRef:
    """``silver://<container>/<collection>/<item_id>/<run_id>/[<attempt>/]<item_id>.tif``.

    Args:
        container: Silver container of the products.
        collection: STAC collection id.
        item_id: STAC item id, unique in its collection.
        run_id: The run that writes. Random, never a hash of content or parameters: a run that wakes up after a
            newer one must not share a path with it.
        attempt: Of the writing task, where each attempt writes a blob of its own.
    """
    ref = BlobRef.of("silver", container, f"{run_prefix(collection, item_id, run_id)}{item_id}.tif")
    return ref if attempt is None else attempt_ref(ref, attempt)


def thumbnail_ref(cog: BlobRef) -> BlobRef:
    """The thumbnail beside a COG."""
    return _sibling(cog, cog.stem + THUMBNAIL_SUFFIX)


def attempt_ref(target: BlobRef, attempt: int) -> BlobRef:
    """``target`` in a folder of this attempt.

    Two attempts of one task may both be alive (a worker that was frozen wakes up). With If-None-Match alone the
    second would find the first's blob in its way; with a folder each, they never meet, and the result row names one.
    """
    return _sibling(target, f"{attempt}/{target.name}")


def run_prefix(collection: str, item_id: str, run_id: RunId) -> str:
    """Path prefix, with its closing slash, of everything that a run wrote for an item."""
    return f"{collection}/{item_id}/{run_id}/"


def _sibling(ref: BlobRef, name: str) -> BlobRef:
    folder, slash, _ = ref.path.rpartition("/")
    return BlobRef.of(ref.tier, ref.container, f"{folder}{slash}{name}")
