from geoetl.identity import credential


def test_a_process_has_one_credential_per_identity():
    assert credential("id-1") is credential("id-1")
    assert credential("id-1") is not credential("id-2")


def test_making_a_credential_contacts_nothing():
    assert repr(credential("id-3")) == "ProcessCredential(client_id='id-3')"
