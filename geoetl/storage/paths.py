"""Where products go. A path names the run that writes it: nothing is overwritten, and a stale write hits nobody."""

from geoetl.models.refs import BlobRef, RunId

#: Beside the COG, for the item's ``thumbnail`` asset.
_THUMBNAIL_SUFFIX = ".thumbnail.png"


def cog_ref(container: str, collection: str, item_id: str, run_id: RunId) -> BlobRef:
    """``silver://<container>/<collection>/<item_id>/<run_id>/<item_id>.tif``.

    Args:
        container: Silver container of the products.
        collection: STAC collection id.
        item_id: STAC item id, unique in its collection.
        run_id: The run that writes. Random, never a hash of content or parameters: a run that wakes up after a
            newer one must not share a path with it.
    """
    return BlobRef.of("silver", container, f"{collection}/{item_id}/{run_id}/{item_id}.tif")


def attempt_ref(target: BlobRef, attempt: int) -> BlobRef:
    """Where this attempt writes: every attempt of a run has a path of its own, the first the plain one.

    Attempts only grow, so what lies under a path was written by this attempt or not at all: the late upload of a zombie
    cannot become, or be taken for, the product of its successor. What lost is removed by the sweeper.
    """
    if attempt <= 1:
        return target
    stem, dot, suffix = target.rpartition(".")
    return BlobRef(f"{stem}.attempt{attempt}{dot}{suffix}")


def thumbnail_ref(cog: BlobRef) -> BlobRef:
    """The thumbnail beside a COG."""
    folder, slash, _ = cog.path.rpartition("/")
    return BlobRef.of(cog.tier, cog.container, f"{folder}{slash}{cog.stem}{_THUMBNAIL_SUFFIX}")
