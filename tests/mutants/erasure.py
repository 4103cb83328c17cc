"""Bugs in erasing a person: what is searched, what is refused, and what a restore brings back."""

from tests.mutants.places import Python, Sql
from tests.mutants.planted import PlantedBug, exactly

_ERASE = "tests/postgres/test_user_erase.py"
_ORIGINAL = "tests/postgres/test_original_erase.py"
_RESTORE = "tests/archive/test_archive_erased.py"

BUGS = (
    PlantedBug(
        "erase-forgets-pins",
        Sql("function hangar.erasure_rules"),
        exactly("('hangar.user_pins', 'delete',"),
        "('hangar.user_pins', 'keep',",
        "no table of ours names an erased person",
        (f"{_ERASE}::test_no_table_of_ours_names_the_person_any_more",),
    ),
    PlantedBug(
        "erase-log-before-triggers-write-it",
        Sql("function hangar.erase_person"),
        exactly("order by t.rule = 'log', t.name"),
        "order by t.rule = 'log' desc, t.name",
        "no text of ours names an erased person, not even what a trigger wrote meanwhile",
        (f"{_ERASE}::test_free_text_loses_id_and_address_in_every_column",),
    ),
    PlantedBug(
        "erase-within-longer-addresses",
        Sql("function hangar.email_pattern"),
        exactly("(?<![[:alnum:]._%+-])|"),
        "|",
        "erasing one person changes no other address",
        (f"{_ERASE}::test_an_address_within_a_longer_one_stays",),
    ),
    PlantedBug(
        "erase-no-list-as-metadata",
        Sql("function hangar.erase_events"),
        exactly(" and jsonb_typeof(e.metadata) = 'object'"),
        "",
        "a person whose log has a list as metadata can be erased",
        (f"{_ORIGINAL}::test_a_person_from_before_hangar_can_be_erased",),
    ),
    PlantedBug(
        "upgrade-old-entries-cannot-change",
        Sql("function hangar.tighten"),
        exactly("check (%s or seq <= %s)'"),
        "check (%s and %s > 0) not valid'",
        "a person whose log is older than Hangar's rules can be erased",
        (f"{_ORIGINAL}::test_a_person_from_before_hangar_can_be_erased",),
    ),
    PlantedBug(
        "erase-no-address-behind-a-line-break",
        Sql("function hangar.email_pattern"),
        exactly("[nrtbf]|"),
        "",
        "an address at the beginning of a line is erased",
        (f"{_ERASE}::test_an_address_is_found_behind_every_escape_and_in_urls",),
    ),
    PlantedBug(
        "erase-takes-escapes-for-letters",
        Sql("function hangar.mark_escapes"),
        exactly("'\\&' || pg_catalog.chr(1)"),
        "'\\&'",
        "a tab before a shorter address is not taken for the first letter of another person's",
        (f"{_ERASE}::test_an_address_is_found_behind_every_escape_and_in_urls",),
    ),
    PlantedBug(
        "erase-skips-the-hosts-columns",
        Sql("function hangar.erasing_columns"),
        exactly("t.typcategory = 'S' or e.typcategory = 'S' or"),
        "t.typname in ('text', '_text') or",
        "a column that the host has added loses the person",
        (f"{_ORIGINAL}::test_columns_that_the_host_has_added_lose_the_person_too",),
    ),
    PlantedBug(
        "erase-skips-the-hosts-columns-of-the-log",
        Sql("function hangar.event_text"),
        exactly("(to_jsonb(p_event) - hangar.event_columns())::text"),
        "''",
        "a column that the host has added to the log loses the person",
        (f"{_ORIGINAL}::test_columns_that_the_host_has_added_lose_the_person_too",),
    ),
    PlantedBug(
        "erase-while-archiving",
        Sql("function hangar.find_disturbed_batch"),
        exactly("c.sha256 <> b.content_sha256"),
        "false",
        "a batch on its way to the bucket keeps the rows for which it was planned",
        (f"{_ERASE}::test_rows_on_their_way_to_the_archive_are_refused",),
    ),
    PlantedBug(
        "erase-opens-old-tokens",
        Sql("function hangar.token_is_valid"),
        exactly("greatest(r.revoked_at, u.erased_at)"),
        "r.revoked_at",
        "a token that was revoked stays refused after its user was erased",
        (f"{_ERASE}::test_a_token_from_before_stays_refused",),
    ),
    PlantedBug(
        "erase-reopens-the-log",
        Sql("function hangar.refuse_event_change"),
        exactly("old.status, old.created_at)"),
        "old.status, new.created_at)",
        "the log stays append-only",
        (f"{_ERASE}::test_the_log_still_refuses_every_other_change",),
    ),
    PlantedBug(
        "erase-dry-run-applies",
        Sql("function public.fly_erase_user"),
        exactly("if not p_apply or v_refusals"),
        "if v_refusals",
        "a dry run changes nothing",
        (f"{_ERASE}::test_a_dry_run_shows_exactly_what_would_happen_and_changes_nothing",),
    ),
    PlantedBug(
        "restore-brings-addresses-back",
        Python("ops.archive.erasures", "Eraser.erase"),
        exactly("return _EMAIL.sub(lambda match: _replace_email(match, users), line)"),
        "return line",
        "a restore does not bring an erased person back",
        (f"{_RESTORE}::test_a_restore_has_the_pseudonym_and_no_address",),
    ),
    PlantedBug(
        "restore-misses-an-address-in-a-url",
        Python("ops.archive.erasures", "_replace_email"),
        exactly("starts = [0, *(sign.end() for sign in _SIGN.finditer(text))]"),
        "starts = [0]",
        "a restore leaves no address in a URL",
        (f"{_RESTORE}::test_a_restore_finds_an_address_behind_escapes_and_in_urls",),
    ),
    PlantedBug(
        "restore-erases-a-later-life",
        Python("ops.archive.erasures", "Eraser.erase"),
        exactly("if at <= person.erased_at"),
        "",
        "rows of a user who came back are not pseudonymised",
        (f"{_RESTORE}::test_a_later_life_of_the_same_user_stays",),
    ),
)
