"""Where the messages go: an Azure Service Bus namespace and its queues."""

from collections.abc import Mapping
from typing import Self

from pydantic import Field, SecretStr, model_validator

from geoetl.config.section import Section

#: https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftservicebus
QUEUE_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,258}[A-Za-z0-9])?$"


class QueueSettings(Section):
    """One queue as it must exist in the namespace."""

    name: str = Field(pattern=QUEUE_PATTERN)
    """The queue's name."""
    lock_duration_s: int = Field(default=60, ge=5, le=300)
    """How long a delivered message stays locked without renewal, in seconds (Service Bus allows 5 minutes)."""
    max_delivery_count: int = Field(default=10, ge=1, le=2000)
    """Deliveries before a message is dead-lettered. Retries are the engine's: this only stops poison messages."""


class StandardQueueSettings(QueueSettings):
    """The queue of light tasks."""

    name: str = Field(default="standard", pattern=QUEUE_PATTERN)
    """The queue's name."""


class GdalQueueSettings(QueueSettings):
    """The queue of oversized rasters."""

    name: str = Field(default="gdal", pattern=QUEUE_PATTERN)
    """The queue's name."""
    lock_duration_s: int = Field(default=300, ge=5, le=300)
    """How long a delivered message stays locked without renewal, in seconds (Service Bus allows 5 minutes)."""


class BrokerSettings(Section):
    """One namespace: by connection string (local, keys) or by name (identity)."""

    connection_string: SecretStr | None = None
    """``Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…``; with ``UseDevelopmentEmulator=true`` an emulator."""
    namespace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$")
    """Fully qualified, for example ``example.servicebus.windows.net``; used with an identity."""
    standard: StandardQueueSettings = Field(default_factory=StandardQueueSettings)
    """Light tasks."""
    gdal: GdalQueueSettings = Field(default_factory=GdalQueueSettings)
    """Oversized rasters, served by workers of the GDAL image."""

    @model_validator(mode="after")
    def _has_one_access(self) -> Self:
        if (self.connection_string is None) == (self.namespace is None):
            raise ValueError("give exactly one of connection_string and namespace")
        if self.connection_string and "endpoint=sb://" not in self.connection_string.get_secret_value().lower():
            raise ValueError("connection_string has no Endpoint=sb://…; copy it whole from Azure")
        if self.standard.name == self.gdal.name:
            raise ValueError(f"standard and gdal are both named {self.gdal.name!r}; they must be two queues")
        return self

    @property
    def queues(self) -> tuple[QueueSettings, ...]:
        """Every queue that must exist."""
        return (self.standard, self.gdal)

    @property
    def names(self) -> Mapping[str, str]:
        """The queues' names, by what plans call them."""
        return {"standard": self.standard.name, "gdal": self.gdal.name}
