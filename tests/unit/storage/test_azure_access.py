"""What the Azure store refuses before it asks the store, and what it never tells."""

import datetime as dt
import pickle

import pytest
from azure.core.credentials import AccessToken

from geoetl.errors import SystemFault
from geoetl.models.refs import BlobRef
from geoetl.storage.azure import AzureBlobStore
from geoetl.storage.azure_account import AzureAccount, TierAccess
from geoetl.storage.base import StorageUnavailable

REF = BlobRef("silver://products/a b/ü.tif")
KEY = "c2VjcmV0LWtleS1vZi10aGUtYWNjb3VudA=="
WITH_KEY = f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=core.windows.net"


class NoCredential:
    def get_token(self, *scopes: str, **kwargs: object) -> AccessToken:
        raise AssertionError("no token is needed")


@pytest.mark.parametrize("connection_string", ["", "nonsense " + KEY, "AccountName=acc", f"AccountKey={KEY}"])
def test_unusable_connection_string_is_refused_without_quoting_it(connection_string: str):
    with pytest.raises(SystemFault) as caught:
        AzureBlobStore({"silver": TierAccess(connection_string=connection_string)}).href(REF)
    assert caught.value.code == "storage-misconfigured"
    assert KEY not in str(caught.value)


def test_connection_string_that_cannot_sign_is_refused():
    sas = "BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=sv=2026-01-01&sig=c2VjcmV0"
    with pytest.raises(SystemFault, match="no account key") as caught:
        AzureBlobStore({"silver": TierAccess(connection_string=sas)}).href(REF)
    assert "c2VjcmV0" not in str(caught.value)


def test_one_way_of_access_must_be_given_not_two():
    with pytest.raises(SystemFault, match="either"):
        TierAccess(connection_string=WITH_KEY, account_url="https://acc.blob.core.windows.net")
    with pytest.raises(SystemFault, match="an identity"):
        TierAccess(account_url="https://acc.blob.core.windows.net")
    with pytest.raises(SystemFault, match="an https address"):
        TierAccess(account_url="http://acc.blob.core.windows.net", credential=NoCredential())


def test_tier_that_is_not_configured_is_named():
    with pytest.raises(SystemFault, match=r"silver tier.*GEOETL_STORAGE__SILVER__ACCOUNT_URL"):
        AzureBlobStore({}).properties(REF)


def test_secrets_are_in_no_representation():
    access = TierAccess(connection_string=WITH_KEY)
    store = AzureBlobStore({"silver": access})
    assert KEY not in repr(access) + repr(store) + repr(vars(store))


def test_href_is_https_and_percent_encoded():
    for access in (
        TierAccess(connection_string=WITH_KEY),
        TierAccess(account_url="https://acc.blob.core.windows.net/", credential=NoCredential()),
    ):
        store = AzureBlobStore({"silver": access})
        assert store.href(REF) == "https://acc.blob.core.windows.net/products/a%20b/%C3%BC.tif"
        store.close()


def test_gdal_gets_a_signature_and_never_the_key():
    store = AzureBlobStore({"silver": TierAccess(connection_string=WITH_KEY)})
    access = store.gdal_access(REF, life_s=3600)
    store.close()
    assert access.path == "/vsiaz/products/a b/ü.tif"
    told = access.options["AZURE_STORAGE_CONNECTION_STRING"]
    assert told.startswith("BlobEndpoint=https://acc.blob.core.windows.net;SharedAccessSignature=")
    assert "sp=r&" in told
    assert "spr=https&" in told
    assert KEY not in repr(access)


def test_identity_cannot_sign_for_more_than_seven_days():
    access = TierAccess(account_url="https://acc.blob.core.windows.net", credential=NoCredential())
    account = AzureAccount("silver", access, retries=0)
    with pytest.raises(ValueError, match="7 days"):
        account.read_signature(REF, life=dt.timedelta(days=8))
    account.close()


def test_storage_errors_survive_the_way_between_processes():
    error = StorageUnavailable("Could not read silver://a/b.", hint="Wait.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (StorageUnavailable, str(error), "storage-unavailable")
