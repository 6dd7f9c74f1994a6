"""How fast items are published: ``python -m benchmarks.catalog [--writers 4] [--items 10000]``.

Each writer is a process that publishes into one collection as a job does: token, ledger, items, read-back, one
transaction each. Beside it pypgstac's own loader, which does none of the rest, with as many items from one process
(several would tear each other's partitions). Prints ``items_per_s=``, ``pypgstac_items_per_s=`` and ``ratio=``.
"""

import argparse
import multiprocessing
import tempfile
import time
import uuid
from itertools import batched
from pathlib import Path
from typing import Any

from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from geoetl.config import DatabaseTarget
from geoetl.db.catalogue import Catalogue
from geoetl.db.connections import ConnectionSource, connect
from geoetl.db.pgstac import bootstrap_pgstac
from geoetl.db.provision import Layout, provision
from geoetl.db.schema import load_migrations, migrate
from geoetl.local.postgres import PostgresCluster
from geoetl.models.catalogue import CollectionDefinition
from geoetl.models.publication import Publication, PublicationToken
from geoetl.models.refs import JobId, RunId
from geoetl.publication.publish import PostgresPublisher


def item(number: int, collection: str) -> dict[str, Any]:
    """About a kilobyte, like an item of ``process_raster``."""
    lon, lat = -179 + (number * 0.01) % 358, -89 + (number * 0.007) % 177
    bands = [{"name": f"b{band}", "data_type": "uint16", "nodata": 0} for band in range(4)]
    return {
        "type": "Feature", "stac_version": "1.1.0", "id": f"scene-{number:08d}", "collection": collection,
        "stac_extensions": ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"],
        "geometry": {"type": "Polygon", "coordinates": [
            [[lon, lat], [lon + 1, lat], [lon + 1, lat + 1], [lon, lat + 1], [lon, lat]]]},
        "bbox": [lon, lat, lon + 1, lat + 1], "links": [],
        "properties": {
            "datetime": f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}T10:00:00Z", "proj:code": "EPSG:32632",
            "proj:shape": [10980, 10980], "proj:transform": [10, 0, 499980, 0, -10, 5300040, 0, 0, 1],
        },
        "assets": {
            "data": {"href": f"https://silver.example/silver/{collection}/{number}.tif", "type": "image/tiff",
                     "roles": ["data"], "bands": bands, "file:size": 123456789},
            "thumbnail": {"href": f"https://silver.example/silver/{collection}/{number}.png", "type": "image/png",
                          "roles": ["thumbnail"]},
        },
    }  # fmt: skip


def publication(number: int, collection: str) -> Publication:
    return Publication(
        item=item(number, collection),
        artefact_uri=f"silver://silver/{collection}/{number}.tif",
        etag=f"0x{number:x}",
        size_bytes=123456789,
        sha256=f"{number:064x}",
    )


def write(target: DatabaseTarget, writer: int, items: int, ready: Any, go: Any) -> None:
    source = ConnectionSource(target, application_name=f"benchmark {writer}")
    publisher = PostgresPublisher(source)
    made = [publication(number, "ours") for number in range(writer * items, (writer + 1) * items)]
    source()
    ready.release()
    go.wait()
    publisher.publish(
        "ours",
        made,
        run_id=RunId(str(uuid.uuid4())),
        job_id=JobId("benchmark"),
        token=PublicationToken(writer + 1, 1),
    )
    source.close()


def ours(target: DatabaseTarget, *, writers: int, items: int) -> float:
    ready, go = multiprocessing.Semaphore(0), multiprocessing.Event()
    processes = [
        multiprocessing.Process(target=write, args=(target, writer, items, ready, go)) for writer in range(writers)
    ]
    for process in processes:
        process.start()
    for _ in processes:
        ready.acquire()
    began = time.perf_counter()
    go.set()
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit(f"a writer failed with status {process.exitcode}")
    return writers * items / (time.perf_counter() - began)


def pypgstac_alone(target: DatabaseTarget, *, items: int, at_once: int) -> float:
    with connect(target, application_name="benchmark pypgstac") as connection:
        connection.execute("SET search_path TO pgstac, public")
        loader = Loader(PgstacDB(connection=connection))
        made = [item(number, "theirs") for number in range(items)]
        began = time.perf_counter()
        for chunk in batched(made, at_once):
            loader.load_items(iter(chunk), Methods.upsert)
        return items / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--items", type=int, default=10_000, help="of each writer, in one publication")
    arguments = parser.parse_args()
    total = arguments.writers * arguments.items
    with tempfile.TemporaryDirectory(prefix="geoetl-benchmark-") as name:
        folder = Path(name)
        cluster = PostgresCluster(
            folder=folder / "postgres", log=folder / "log", record=folder / "pid", is_ephemeral=True
        )
        cluster.start()
        try:
            layout = Layout()
            provision(cluster.target(), layout)
            owner = cluster.target(layout.business_db, layout.migrator)
            bootstrap_pgstac(owner, admin=cluster.target(layout.business_db))
            with connect(owner, application_name="benchmark") as connection:
                migrate(connection, load_migrations("business"))
            target = cluster.target(layout.business_db, layout.worker)
            source = ConnectionSource(target, application_name="benchmark")
            catalogue = Catalogue(source)
            for collection in ("ours", "theirs"):
                catalogue.create_collection(CollectionDefinition(id=collection, description="Of the benchmark."))
            source.close()
            rate = ours(target, writers=arguments.writers, items=arguments.items)
            alone = pypgstac_alone(target, items=total, at_once=arguments.items)
            counts = {each.id: each.item_count for each in catalogue.list_collections()}
            source.close()
        finally:
            cluster.stop()
            cluster.remove()
    print(f"writers={arguments.writers} items={total} found={counts['ours']}")
    print(f"items_per_s={rate:.0f}")
    print(f"pypgstac_items_per_s={alone:.0f}")
    print(f"ratio={rate / alone:.2f}")
    if counts["ours"] != total:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
