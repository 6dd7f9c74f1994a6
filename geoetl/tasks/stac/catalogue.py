"""Publish the products of a run as items of one collection."""

import datetime as dt
from typing import Any

from pydantic import ValidationError
from stac_pydantic import Item

from geoetl.errors import SystemFault
from geoetl.models.raster import CatalogueInput, CatalogueOutput, ItemInput, PublishedItem
from geoetl.tasks.context import Publication, TaskContext
from geoetl.tasks.stac.items import build_item


def publish_items(task: CatalogueInput, ctx: TaskContext) -> CatalogueOutput:
    """Build and check all items, then publish all or none.

    Raises:
        SystemFault: ``invalid-item`` where an item that was built is no valid STAC; ``not-published`` where the
            catalogue did not give back every item.
        LeaseLost: A newer run or attempt has published since.
    """
    publications = [_publication(item, task, ctx) for item in task.items]
    ctx.checkpoint()
    found = ctx.publisher.publish(
        task.collection,
        publications,
        run_id=ctx.run_id,
        job_id=task.job_id,
        token=ctx.token,
        create_collection=task.create_collection,
    )
    wanted = [item.item_id for item in task.items]
    if found != wanted:
        missing = sorted(set(wanted) - set(found))
        raise SystemFault(
            f"Publishing {len(wanted)} items to collection {task.collection} gave back {len(found)}; "
            f"missing: {', '.join(missing[:10]) or 'none, but the order differs'}.",
            code="not-published",
        )
    return CatalogueOutput(
        collection=task.collection,
        items=tuple(
            PublishedItem(item_id=item.item_id, href=ctx.store.href(item.product.cog), etag=item.product.etag)
            for item in task.items
        ),
    )


def _publication(item: ItemInput, task: CatalogueInput, ctx: TaskContext) -> Publication:
    document = build_item(
        item,
        collection=task.collection,
        store=ctx.store,
        job_id=task.job_id,
        run_id=ctx.run_id,
        software=task.processed_by,
        processed_at=dt.datetime.now(dt.UTC),
    )
    validate_item(document)
    product = item.product
    return Publication(
        item=document,
        artefact_uri=product.cog,
        etag=product.etag,
        size_bytes=product.size_bytes,
        sha256=product.sha256,
    )


def validate_item(document: dict[str, Any]) -> None:
    """Check an item against STAC's core model, offline.

    Raises:
        SystemFault: ``invalid-item``.
    """
    try:
        Item.model_validate(document)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, error['loc']))}: {error['msg']}" for error in exc.errors()[:5])
        raise SystemFault(
            f"The item {document.get('id')!r} that was built is no valid STAC item: {problems}.", code="invalid-item"
        ) from exc
