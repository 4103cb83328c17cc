"""Texts from outside enter a message only through `cut_excerpt`, which masks credentials without knowing them."""

import pytest

from shared.adapters.database import explain_refusal
from shared.observability.redaction import cut_excerpt

CREDENTIALS = [
    "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "sb_secret_0123456789",
    "whsec_q83vq83vq83v",
    "FlyV1 fm2_lJPE",
]


@pytest.mark.parametrize("credential", CREDENTIALS)
def test_an_excerpt_shows_no_credential(credential):
    """I9: unknown secrets are also masked, such as another process's key in a response of the database."""
    assert credential not in cut_excerpt(f"refused for {credential} today")
    assert credential not in str(explain_refusal("fly_save", "XX000", f"refused for {credential}"))
