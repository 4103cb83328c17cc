from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.domain import naming

USER = UUID("35682909-0000-4000-8000-000000000001")


def test_the_name_is_the_prefix_and_eight_hex_digits_of_sha256():
    """The expected value is from sha256sum of "35682909-0000-4000-8000-000000000001:0"."""
    assert naming.app_name("vyx-user", USER, 0) == "vyx-user-e140814c"


@given(st.uuids(), st.integers(0, 99))
def test_the_next_name_differs_and_is_valid_on_fly(user, seq):
    name = naming.app_name("vyx-user", user, seq)
    assert name != naming.app_name("vyx-user", user, seq + 1)
    assert len(name) <= 40
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@given(st.uuids(), st.uuids())
def test_the_owner_can_be_read_from_the_network_name(installation, row):
    proof = naming.read_proof(naming.network_name(installation, row))
    assert proof == naming.Proof(naming.installation_mark(installation), row)


def test_another_network_name_proves_nothing():
    for network in (None, "", "default", "hangar-xyz", "hangar-0123456789ab-short", "hangar-0123456789ab-" + "0" * 33):
        assert naming.read_proof(network) is None
