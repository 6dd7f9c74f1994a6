"""Put a COG together from the blocks of its bands: the top overviews, the header, the list of blocks.

No tile of a band is moved. Blocks that are gone (a store drops them after a week) are noticed before the commit, and
their bands encoded again here: the job's stages are fixed, and a stage that is complete is not run again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from rasterio.io import DatasetReader

from geoetl.errors import SystemFault
from geoetl.models.bigcog import AssembledCog, AssembleInput, BandReceipt
from geoetl.models.refs import BlobRef
from geoetl.storage.base import BlobExists, BlobNotFound, BlobProperties
from geoetl.tasks.context import StepCounter, TaskContext
from geoetl.tasks.raster.cog.bands import make_band
from geoetl.tasks.raster.cog.blocks import BlockStager, block_bytes
from geoetl.tasks.raster.cog.contents import Contents
from geoetl.tasks.raster.cog.parts import Part, parts_prefix
from geoetl.tasks.raster.cog.product import describe_product
from geoetl.tasks.raster.cog.queue import TileQueue
from geoetl.tasks.raster.cog.recipe import Recipe, make_recipe
from geoetl.tasks.raster.cog.source import open_shared
from geoetl.tasks.raster.cog.top import TopLevels
from geoetl.tasks.raster.convert import COG_CONTENT_TYPE
from geoetl.tasks.raster.inspect import require_data
from geoetl.tasks.raster.statistics import RunningStatistics

#: https://learn.microsoft.com/rest/api/storageservices/put-block-list
MAX_BLOCKS = 50_000
_BLOCKS_DIGEST = "blocks_sha256"


def assemble_cog(task: AssembleInput, ctx: TaskContext) -> AssembledCog:
    """Commit the blob, read it back, remove what the bands left.

    Raises:
        BadData: ``source-changed``, ``only-nodata``.
        SystemFault: ``cog-differs``: the blob is not what it should be; nothing is published.
        TransientError: The storage is away.
    """
    cog = task.cog
    statistics = _statistics(task.receipts)
    with open_shared(cog, ctx) as src:
        require_data(src, statistics, cog.source)
        recipe = make_recipe(src, cog, scratch=ctx.scratch, threads=ctx.threads, shrink=ctx.shrink)
        assembly = _Assembly(task, src, recipe, ctx)
        stored = _earlier_commit(cog.target, ctx) or assembly.commit()
        product = describe_product(cog, src, recipe.profile, stored, ctx)
    for left in ctx.store.list(cog.target.tier, cog.target.container, parts_prefix(cog.target)):
        ctx.store.delete(left.ref)
    ctx.log.info("cog assembled", source=cog.source, cog=cog.target, size_bytes=stored.size_bytes)
    return AssembledCog(
        product=product,
        statistics=tuple(band.result() for band in statistics),
        encoded_again=len(assembly.encoded_again),
        moved_bytes=assembly.moved_bytes,
    )


def _statistics(receipts: Sequence[BandReceipt]) -> list[RunningStatistics]:
    statistics = [RunningStatistics() for _ in receipts[0].moments]
    for receipt in receipts:
        for band, moments in zip(statistics, receipt.moments, strict=True):
            band.add_moments(moments)
    return statistics


def _earlier_commit(target: BlobRef, ctx: TaskContext) -> BlobProperties | None:
    """The blob, where an attempt of this run has committed it already; the path is this run's alone."""
    try:
        found = ctx.store.properties(target)
    except BlobNotFound:
        return None
    if found.metadata.get("run") == ctx.run_id and _BLOCKS_DIGEST in found.metadata:
        return found
    raise SystemFault(
        f"Assembling {target} failed: another blob is there (ETag {found.etag}), and products are never overwritten.",
        code="target-exists",
        hint="A path names its run, so this should not happen. Run the job again with force.",
    )


@dataclass
class _Assembly:
    """One attempt to put a COG together."""

    task: AssembleInput
    src: DatasetReader
    recipe: Recipe
    ctx: TaskContext
    moved_bytes: int = 0
    encoded_again: list[int] = field(default_factory=list[int])

    def commit(self) -> BlobProperties:
        """Stage what no band could make, commit the blocks of all."""
        ctx, cog, layout = self.ctx, self.task.cog, self.recipe.layout
        contents = Contents(layout, has_mask=self.recipe.has_mask)
        staged = {block.id: block.size_bytes for block in ctx.store.staged_blocks(cog.target)}
        with (
            BlockStager(ctx.store, cog.target, block_bytes(layout), is_one_panel=True) as stager,
            TileQueue(self.recipe.encoder, stager, threads=ctx.threads) as queue,
        ):
            top = TopLevels(self.recipe, queue)
            steps = StepCounter(ctx, len(self.task.receipts))
            for receipt in self.task.receipts:
                part = self._part_of(receipt, staged)
                contents.add(part.runs, part.blocks)
                if part.strip is not None:
                    top.push(part.strip)
                steps.step()
        contents.add(stager.runs, stager.blocks)
        header = contents.header(self.recipe.template)
        self.moved_bytes += len(header) + sum(block.size_bytes for block in stager.blocks)
        block_ids = contents.block_ids(header)
        ctx.store.stage_block(cog.target, block_ids[0], header)
        return self._commit(block_ids)

    def _commit(self, block_ids: Sequence[str]) -> BlobProperties:
        ctx, cog = self.ctx, self.task.cog
        if len(block_ids) > MAX_BLOCKS:
            raise SystemFault(f"{cog.target} would have {len(block_ids):,} blocks; a blob has at most {MAX_BLOCKS:,}.")
        digest = hashlib.sha256("".join(block_ids).encode()).hexdigest()
        metadata = {"run": ctx.run_id, "source_etag": cog.etag, _BLOCKS_DIGEST: digest}
        ctx.checkpoint()
        try:
            return ctx.store.commit_blocks(cog.target, block_ids, content_type=COG_CONTENT_TYPE, metadata=metadata)
        except BlobExists:
            # Another attempt of this task was faster. Equal blocks have equal ids: it is the same blob.
            found = ctx.store.properties(cog.target)
            if found.metadata.get(_BLOCKS_DIGEST) != digest:
                raise
            return found

    def _part_of(self, receipt: BandReceipt, staged: dict[str, int]) -> Part:
        """What a band left, if all its blocks are there still; else it is encoded again."""
        store = self.ctx.store
        try:
            size_bytes = store.properties(receipt.part).size_bytes
            part = Part.from_bytes(store.read_range(receipt.part, offset=0, length=size_bytes))
            self.moved_bytes += size_bytes
            if all(staged.get(block.id) == block.size_bytes for block in part.blocks):
                return part
        except BlobNotFound:
            pass
        self.ctx.log.warning("blocks are gone, band is encoded again", cog=self.task.cog.target, band=receipt.band)
        self.encoded_again.append(receipt.band)
        return make_band(
            self.src, self.recipe, self.task.cog, receipt.band,
            store=store, threads=self.ctx.threads, step=self.ctx.checkpoint,
        )  # fmt: skip
