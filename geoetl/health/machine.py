"""This machine: GDAL with what is needed, room to work, and tokens to be had."""

import shutil
import time
from collections.abc import Iterator

import rasterio
from rasterio.drivers import raster_driver_extensions

from geoetl.chains.routing import conversion_bytes
from geoetl.config.settings import Settings
from geoetl.errors import SystemFault
from geoetl.health.diagnosis import Diagnosis
from geoetl.identity import POSTGRES_SCOPE, credential, token_life_s
from geoetl.resources.memory_group import memory_group
from geoetl.resources.memory_room import room_of

#: The oldest GDAL that the COG profiles were proved with.
OLDEST_GDAL = (3, 10)
_DRIVERS = ("GTiff", "COG", "JP2OpenJPEG")
_SERVICE_BUS_SCOPE = "https://servicebus.azure.net/.default"
_STORAGE_SCOPE = "https://storage.azure.com/.default"


def check_gdal() -> Iterator[Diagnosis]:
    """Versions, and the drivers that job types use."""
    version = rasterio.gdal_version()
    detail = f"GDAL {version}, rasterio {rasterio.__version__}, PROJ {rasterio.__proj_version__}"
    parts = tuple(int(part) for part in version.split(".")[:2])
    if parts < OLDEST_GDAL:
        raise SystemFault(
            f"{detail}: at least GDAL {'.'.join(map(str, OLDEST_GDAL))} is needed.",
            code="gdal-too-old",
            hint="Install the rasterio that requirements name: it brings its GDAL along.",
        )
    with rasterio.Env() as env:
        missing = [driver for driver in _DRIVERS if driver not in env.drivers()]
    if missing:
        raise SystemFault(
            f"{detail}: drivers {', '.join(missing)} are missing.",
            code="gdal-incomplete",
            hint="Install rasterio's own wheel, or GDAL with these drivers.",
        )
    yield Diagnosis("gdal", "healthy", f"{detail}, {len(raster_driver_extensions())} file types can be written")


def check_scratch(settings: Settings) -> Iterator[Diagnosis]:
    """Room for the largest raster that the settings route to the standard queue, source and product, at full load."""
    folder = settings.raster.scratch_dir
    if not folder.is_dir():
        raise SystemFault(
            f"The folder {folder} for running attempts does not exist.",
            code="scratch-missing",
            hint="Create it, or set GEOETL_RASTER__SCRATCH_DIR.",
        )
    free = shutil.disk_usage(folder).free
    wanted = 2 * settings.raster.gdal_threshold_bytes * settings.worker.concurrency
    detail = f"{folder}: {free / 2**30:.1f} GiB free"
    if free < wanted:
        yield Diagnosis(
            "scratch",
            "degraded",
            f"{detail}, {settings.worker.concurrency} tasks at a time may need {wanted / 2**30:.1f} GiB",
            cause="scratch-small",
            hint="Set GEOETL_RASTER__SCRATCH_DIR to a larger disk, or lower GEOETL_WORKER__CONCURRENCY.",
        )
    else:
        yield Diagnosis("scratch", "healthy", detail)


def check_memory(settings: Settings) -> Iterator[Diagnosis]:
    """Room for as many conversions as may run at a time."""
    group = memory_group()
    room = room_of(
        settings.raster.scratch_dir,
        limit_bytes=settings.worker.memory_limit_bytes,
        reserve_bytes=settings.worker.memory_reserve_bytes,
        group=group,
    )
    wanted = conversion_bytes(settings.raster) * settings.worker.concurrency
    whose = "machine" if group.is_machine else "container"
    detail = f"{room.budget_bytes / 2**30:.1f} GiB for tasks, of the {whose}'s {group.limit_bytes / 2**30:.1f} GiB"
    if room.budget_bytes < wanted:
        yield Diagnosis(
            "memory",
            "degraded",
            f"{detail}, {settings.worker.concurrency} conversions at a time need {wanted / 2**30:.1f} GiB",
            cause="memory-small",
            hint="Tasks will wait for each other. Lower GEOETL_WORKER__CONCURRENCY, or give the workers more memory.",
        )
    else:
        yield Diagnosis("memory", "healthy", detail)


def check_identity(settings: Settings) -> Iterator[Diagnosis]:
    """A token for each service that is reached by identity; nothing where none is."""
    for scope in scopes_in_use(settings):
        started = time.monotonic()
        life_s = token_life_s(credential(), scope)
        took = time.monotonic() - started
        yield Diagnosis(
            "identity", "healthy", f"a token for {scope} was had in {took * 1000:.0f} ms and lives {life_s:.0f} s"
        )


def scopes_in_use(settings: Settings) -> list[str]:
    """What tokens of the process's identity are needed for."""
    databases = (settings.database.app, settings.database.business, settings.database.business_owner)
    scopes: list[str] = []
    if any(target is not None and target.auth == "identity" for target in databases):
        scopes.append(POSTGRES_SCOPE)
    if settings.broker.namespace is not None:
        scopes.append(_SERVICE_BUS_SCOPE)
    if any(tier.account_url is not None for tier in (settings.storage.bronze, settings.storage.silver)):
        scopes.append(_STORAGE_SCOPE)
    return scopes
