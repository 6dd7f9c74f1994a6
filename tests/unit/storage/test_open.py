from geoetl.config.storage import StorageSettings
from geoetl.models.refs import BlobRef
from geoetl.storage.open import open_store


def test_each_tier_has_the_account_of_its_settings():
    settings = StorageSettings.model_validate(
        {
            "bronze": {"account_url": "https://raw.blob.core.windows.net"},
            "silver": {
                "connection_string": "DefaultEndpointsProtocol=https;AccountName=products;AccountKey=a2V5;"
                "EndpointSuffix=core.windows.net"
            },
        }
    )
    store = open_store(settings)
    assert store.href(BlobRef("bronze://in-tray/a.tif")) == "https://raw.blob.core.windows.net/in-tray/a.tif"
    assert store.href(BlobRef("silver://cogs/a.tif")) == "https://products.blob.core.windows.net/cogs/a.tif"
    store.close()
