"""Bugs planted in tokens and secrets of machines: their renewal, their revocation, and what Fly has lost."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_KEYS = "tests/simulation/test_signing_keys.py"
_RELEASES = "tests/simulation/test_release_tokens.py"
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
        "renewal-with-a-key-that-the-project-refuses",
        Sql("function hangar.find_renewal_hold"),
        exactly("when hangar.is_signing_key_refused() then 'signing_key'"),
        "when false then 'signing_key'",
        "no token is renewed while the project refuses the key that signs it",
        (f"{_KEYS}::test_a_key_that_is_revoked_first_is_named_and_no_health_repair_makes_it_worse",),
    ),
    PlantedBug(
        "refused-tokens-wait-as-an-incident",
        Sql("function hangar.find_renewal_hold"),
        exactly(
            "and not (l.kind = 'incident' and l.key = 'health' and coalesce((hangar.read_signing_keys()).refused_apps, 0) > 0)"
        ),
        "",
        "apps whose tokens are refused get new ones, although so many are unhealthy at once",
        (f"{_KEYS}::test_with_a_key_that_is_accepted_hangar_repairs_every_app_itself",),
    ),
    PlantedBug(
        "apps-with-refused-tokens-replaced",
        Sql("function hangar.choose_health_step"),
        exactly("when hangar.is_token_refused(p_row) then 'wait'"),
        "when false then 'wait'",
        "no machine is restarted or replaced for a token that the project refuses",
        (f"{_KEYS}::test_a_few_apps_with_refused_tokens_are_neither_restarted_nor_replaced",),
    ),
    PlantedBug(
        "release-looks-at-apps-with-refused-tokens",
        Sql("function hangar.find_looks"),
        exactly("and a.generation = t.generation and (t.goes_back or not hangar.was_token_refused(a))"),
        "and a.generation = t.generation",
        "a release does not judge a program whose token the project refuses",
        (f"{_RELEASES}::test_a_look_at_an_app_with_a_refused_token_is_not_asked_for",),
    ),
    PlantedBug(
        "release-blames-the-image-before-it-asks-for-the-keys",
        Python("shared.fleet.releases", "advance_releases"),
        exactly('each["verdict"] in ("bad", "dead")'),
        'each["verdict"] == "never"',
        "before a release records a failure, it asks which keys the project accepts",
        (f"{_RELEASES}::test_a_release_does_not_take_refused_tokens_for_its_failures",),
    ),
    PlantedBug(
        "apps-with-refused-tokens-fail-after-their-proof",
        Sql("function hangar.follow_ended_targets"),
        exactly("and a.desired_state = 'present' and not hangar.blames_token(a)"),
        "and a.desired_state = 'present'",
        "an app that was good does not become a failure of the release because its token is refused",
        (f"{_RELEASES}::test_a_release_does_not_take_refused_tokens_for_its_failures",),
    ),
    PlantedBug(
        "refused-app-keeps-its-place",
        Sql("function hangar.count_release_room"),
        exactly("and not hangar.waits_for_token(t)"),
        "",
        "an app that waits for a token keeps no other app of a release from moving",
        (f"{_RELEASES}::test_a_rollback_ends_although_some_apps_have_no_accepted_token",),
    ),
    PlantedBug(
        "refused-app-waits-for-ever",
        Sql("function hangar.wait_for_token"),
        exactly("elsif p_judge and"),
        "elsif false and",
        "a release ends although an app gets no token",
        (f"{_RELEASES}::test_an_app_under_proof_waits_for_its_token_one_hour",),
    ),
    PlantedBug(
        "old-answer-about-the-keys-forgotten",
        Sql("function hangar.was_token_refused"),
        exactly("where p_row.token_key_id <> all (k.published)"),
        "where p_row.token_key_id <> all (k.published) and k.read_at > hangar.now() - interval '1 hour'",
        "an answer of the project that is old makes no refused app a failure of the release",
        (f"{_RELEASES}::test_an_old_answer_of_the_project_makes_nobody_fail",),
    ),
    PlantedBug(
        "renewed-app-not-watched",
        Sql("function hangar.renew_tokens"),
        exactly("set generation = v_row.generation, good_since = null"),
        "set good_since = null",
        "a release watches an app as before after it got a new token",
        (f"{_RELEASES}::test_an_app_that_got_a_new_token_is_watched_as_before",),
    ),
    PlantedBug(
        "renewal-resolves-the-tag-again",
        Python("shared.domain.decide", "_decide_update"),
        exactly('"secrets" if kinds == {SECRETS} else "update"'),
        '"update"',
        "a renewal deploys the image that runs, wherever its tag points by now",
        ("tests/unit/test_planted_decisions.py::test_new_secrets_alone_are_no_update_that_asks_where_a_tag_points",),
    ),
    PlantedBug(
        "lost-secrets-not-noticed",
        Sql("function hangar.apply_facts"),
        exactly("perform hangar.mark_secrets_lost(p_row);"),
        "",
        "secrets that Fly has lost are named, because Hangar cannot set them again",
        (f"{_SECRETS}::test_an_app_that_is_made_again_names_what_it_lacks",),
    ),
    PlantedBug(
        "secret-removal-ignores-the-hold",
        Sql("function public.fly_record_user_secret"),
        exactly("and not hangar.is_signing_key_refused()"),
        "",
        "no machine gets a token that the project refuses",
        ("tests/simulation/test_signing_keys.py::test_removing_a_secret_gives_no_token_that_the_project_refuses",),
    ),
)
