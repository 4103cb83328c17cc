"""Bugs planted in tokens and secrets of machines: their renewal, their revocation, and what Fly has lost."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_RENEWAL = "tests/simulation/test_token_renewal.py"
_SECRETS = "tests/simulation/test_user_secrets.py"

BUGS = (
    PlantedBug(
        "token-of-the-second-of-its-revocation-accepted",
        Sql("function hangar.token_is_valid"),
        exactly("> floor(extract(epoch from greatest(r.revoked_at, u.erased_at)))"),
        ">= floor(extract(epoch from greatest(r.revoked_at, u.erased_at)))",
        "a revoked token is refused, also one that was issued in the second of the revocation",
        ("tests/http/test_token_revocation.py",),
    ),
    PlantedBug(
        "renewal-resolves-the-tag-again",
        Python("shared.domain.decide", "_decide_update"),
        exactly('"secrets" if kinds == {SECRETS} else "update"'),
        '"update"',
        "a renewal deploys the image that runs, wherever its tag points by now",
        (f"{_RENEWAL}::test_a_renewal_keeps_the_image_although_its_tag_has_moved",),
    ),
    PlantedBug(
        "lost-secrets-not-noticed",
        Sql("function hangar.apply_facts"),
        exactly("perform hangar.mark_secrets_lost(p_row);"),
        "",
        "secrets that Fly has lost are named, because Hangar cannot set them again",
        (f"{_SECRETS}::test_an_app_that_is_made_again_names_what_it_lacks",),
    ),
)
