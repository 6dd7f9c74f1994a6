"""The store that the settings describe."""

from geoetl.config.storage import StorageSettings, TierSettings
from geoetl.identity import credential
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import TierAccess


def open_store(settings: StorageSettings) -> AzureBlobStore:
    """A store on both tiers' accounts; nothing is contacted yet.

    Raises:
        SystemFault: A tier's settings cannot work (code ``storage-misconfigured``).
    """
    return AzureBlobStore({"bronze": _access(settings.bronze), "silver": _access(settings.silver)})


def _access(tier: TierSettings) -> TierAccess:
    if tier.connection_string is not None:
        return TierAccess(connection_string=tier.connection_string.get_secret_value())
    return TierAccess(account_url=tier.account_url or "", credential=credential())
