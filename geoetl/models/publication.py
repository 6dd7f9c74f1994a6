"""What a publication is made of: shared by the cores that ask for one and the room that does it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class PublicationToken:
    """Orders publications: a later run, or a later attempt of the same run, is greater (design section 3.11)."""

    run_sequence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Publication:
    """One artefact to be made visible."""

    item: dict[str, object]
    """The STAC item, with absolute hrefs."""
    artefact_uri: str
    """``silver://`` reference of the product."""
    etag: str
    size_bytes: int
    sha256: str
