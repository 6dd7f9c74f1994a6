"""The job that does nothing: it proves that an installation works."""

from pydantic import Field

from geoetl.models.base import Model


class CountInput(Model):
    """How many tasks the second stage shall have."""

    tasks: int = Field(ge=0)


class CountOutput(Model):
    """The number that the fan-out is made of."""

    tasks: int


class WorkInput(Model):
    """One of them."""

    index: int
    seconds: float = Field(default=0.0, ge=0)
    """How long to stay busy, in steps that a cancel can interrupt."""
    hold_bytes: int = Field(default=0, ge=0)
    """Memory to hold meanwhile; halved with each attempt that ran out of it."""


class WorkOutput(Model):
    """Its square, so that a wrong order of results is seen."""

    square: int
