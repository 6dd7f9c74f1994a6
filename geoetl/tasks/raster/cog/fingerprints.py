"""What went into a COG, remembered by hash: the finished file is compared with it, the source is not read twice."""

from dataclasses import dataclass, field

from rasterio.windows import Window

from geoetl.tasks.raster.cog.pixels import Pixels


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Of the pixels in one window of full resolution."""

    window: Window
    digest: bytes


@dataclass(frozen=True, slots=True)
class FingerprintList:
    """Windows that cover a raster once, as they come."""

    taken: list[Fingerprint] = field(default_factory=list[Fingerprint])

    def take(self, window: Window, pixels: Pixels) -> None:
        """Remember the pixels of a window."""
        self.taken.append(Fingerprint(window, pixels.digest()))
