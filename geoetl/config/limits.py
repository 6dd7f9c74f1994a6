"""What a job may ask for, and how long it is remembered."""

from typing import Self

from pydantic import Field, model_validator

from geoetl.config.section import Section


class LimitSettings(Section):
    """Refused before a job is accepted; and how long one is remembered."""

    max_sources: int = Field(default=10_000, ge=1)
    """Sources of one job; a job type may allow fewer."""
    min_source_bytes: int = Field(default=1, ge=0)
    """Smallest source blob accepted."""
    max_source_bytes: int = Field(default=200 * 1024**3, ge=1)
    """Largest source blob accepted."""
    max_fan_out: int = Field(default=100_000, ge=1)
    """Tasks of one stage."""
    keep_jobs_days: float = Field(default=90, gt=0)
    """How long ended jobs and their history are kept by ``geoetl db prune``, in days."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.min_source_bytes > self.max_source_bytes:
            raise ValueError("min_source_bytes is larger than max_source_bytes")
        return self
