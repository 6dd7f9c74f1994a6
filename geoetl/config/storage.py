"""Where the blobs are: the bronze tier (raw input) and the silver tier (products)."""

import re
from typing import Self

from pydantic import Field, SecretStr, model_validator

from geoetl.config.section import Section

#: https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
CONTAINER_PATTERN = r"^[a-z0-9](?:-?[a-z0-9]){2,62}$"

_PARTS = re.compile(r"(?:^|;)\s*(BlobEndpoint|AccountName|DefaultEndpointsProtocol)=", re.IGNORECASE)


class TierSettings(Section):
    """One storage account: by connection string (local, keys) or by URL (identity)."""

    connection_string: SecretStr | None = None
    """An Azure Storage connection string."""
    account_url: str | None = Field(default=None, pattern=r"^https?://[^/?#\s]+(/[^?#\s]*)?$")
    """Address of the blob service, for example ``https://account.blob.core.windows.net``; no SAS in it."""
    container: str = Field(pattern=CONTAINER_PATTERN)
    """Container used where a job names none."""

    @model_validator(mode="after")
    def _has_one_access(self) -> Self:
        if (self.connection_string is None) == (self.account_url is None):
            raise ValueError("give exactly one of connection_string and account_url")
        if self.connection_string and not _PARTS.search(self.connection_string.get_secret_value()):
            raise ValueError("connection_string has neither BlobEndpoint= nor AccountName=; copy it whole from Azure")
        return self


class BronzeSettings(TierSettings):
    """Raw input."""

    container: str = Field(default="bronze", pattern=CONTAINER_PATTERN)
    """Container used where a job names none."""


class SilverSettings(TierSettings):
    """Products."""

    container: str = Field(default="silver", pattern=CONTAINER_PATTERN)
    """Container used where a job names none."""


class StorageSettings(Section):
    """Both tiers. They may be one account or two."""

    bronze: BronzeSettings
    """Raw input."""
    silver: SilverSettings
    """Products."""
