import pytest

from geoetl.transport.errors import InvalidBrokerUrlError
from geoetl.transport.urls import Address, Identity, parse_address

CONNECTION_STRING = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey=a/b+c="


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("servicebus://root:k@ns", Address(host="ns.servicebus.windows.net", policy="root", key="k")),
        ("servicebus://root:k@ns.servicebus.chinacloudapi.cn",
         Address(host="ns.servicebus.chinacloudapi.cn", policy="root", key="k")),
        ("servicebus://root:a/b+c=@ns/", Address(host="ns.servicebus.windows.net", policy="root", key="a/b+c=")),
        ("servicebus://root:a@b@ns", Address(host="ns.servicebus.windows.net", policy="root", key="a@b")),
        ("servicebus://root:k@localhost:5672",
         Address(host="localhost:5672", is_emulator=True, policy="root", key="k")),
        ("servicebus://root:k@127.0.0.1", Address(host="127.0.0.1", is_emulator=True, policy="root", key="k")),
        ("servicebus://root:k@emulator:5672?emulator=true",
         Address(host="emulator:5672", is_emulator=True, policy="root", key="k")),
        ("servicebus://root:k@ns:5671", Address(host="ns.servicebus.windows.net", policy="root", key="k")),
        ("servicebus://DefaultAzureCredential@ns",
         Address(host="ns.servicebus.windows.net", identity=Identity.DEFAULT)),
        ("servicebus://managedidentitycredential@ns?client_id=1-2",
         Address(host="ns.servicebus.windows.net", identity=Identity.MANAGED, client_id="1-2")),
        ("servicebus://WorkloadIdentityCredential@ns",
         Address(host="ns.servicebus.windows.net", identity=Identity.WORKLOAD)),
        (f"servicebus://{CONNECTION_STRING}", Address(host="ns.servicebus.windows.net", policy="root", key="a/b+c=")),
        (CONNECTION_STRING.lower().replace("a/b", "A/B"),
         Address(host="ns.servicebus.windows.net", policy="root", key="A/B+c=")),
        ("Endpoint=sb://localhost:5672;SharedAccessKeyName=r;SharedAccessKey=k;UseDevelopmentEmulator=true;",
         Address(host="localhost:5672", is_emulator=True, policy="r", key="k")),
        ("Endpoint=sb://ns.servicebus.windows.net;SharedAccessSignature=SharedAccessSignature sr=x&sig=y&se=1",
         Address(host="ns.servicebus.windows.net", signature="SharedAccessSignature sr=x&sig=y&se=1")),
    ],
)  # fmt: skip
def test_form_is_understood(url, address):
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("servicebus://", "names no credential or no namespace"),
        ("servicebus://ns", "names no credential or no namespace"),
        ("servicebus://root:k@", "names no credential or no namespace"),
        ("servicebus://root@ns", "neither POLICY:KEY nor a known credential"),
        ("servicebus://root:k@ns?emulater=true", "Unknown parameter emulater"),
        ("servicebus://Endpoint=sb://ns/", "SharedAccessKeyName and SharedAccessKey"),
        (f"{CONNECTION_STRING};EntityPath=q", "entity 'q' only"),
        ("Endpoint=;SharedAccessKeyName=r;SharedAccessKey=k", "no Endpoint"),
    ],
)
def test_other_form_is_refused_with_what_is_wrong(url, told):
    with pytest.raises(InvalidBrokerUrlError, match=told):
        parse_address(url)


@pytest.mark.parametrize("url", ["servicebus://root:SECRET@", "servicebus://SECRET", "servicebus://root@ns?SECRET=1"])
def test_refusal_does_not_show_the_key(url):
    with pytest.raises(InvalidBrokerUrlError) as refused:
        parse_address(url.replace("?SECRET=1", ""))
    assert "SECRET" not in str(refused.value) or ":" not in url.partition("://")[2]


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("servicebus://r:k@ns", ("ns.servicebus.windows.net", 5671)),
        ("servicebus://r:k@localhost", ("localhost", 5672)),
        ("servicebus://r:k@localhost:1", ("localhost", 1)),
    ],
)
def test_port_is_the_one_of_amqps_or_of_the_emulator(url, where):
    assert parse_address(url).host_and_port == where


def test_uri_masks_the_key():
    assert parse_address("servicebus://root:SECRET@ns").as_uri() == "servicebus://root:**@ns.servicebus.windows.net"


@pytest.mark.parametrize(
    "url",
    ["servicebus://root:a/b@ns", "servicebus://root:k@localhost:5672", "servicebus://root:k@emu:1?emulator=true",
     "servicebus://DefaultAzureCredential@ns"],
)  # fmt: skip
def test_unmasked_uri_is_the_same_address(url):
    assert parse_address(parse_address(url).as_uri(mask=None)) == parse_address(url)


def test_key_is_in_no_representation():
    assert "SECRET" not in repr(parse_address("servicebus://root:SECRET@ns"))
    assert "SECRET" not in repr(parse_address("Endpoint=sb://ns;SharedAccessSignature=SECRET"))


def test_connection_string_comes_back_as_the_same_address():
    address = parse_address("servicebus://root:a/b+c=@localhost:5672")
    assert parse_address(address.connection_string()) == address
