"""The candidates for a binding, by names and types of the host's tables alone."""

import pytest

from ops.binding_catalog import Table
from ops.binding_proposal import propose
from ops.binding_samples import judge, parse_end

AUTH = Table("auth", "users", "auth.users", {"id": "uuid", "email": "text"})
SEED_COLUMNS = {"user_id": "uuid", "tier": "text", "status": "text", "expires_at": "timestamptz"}


def table(name, schema="public", **columns):
    quoted = name if name.islower() and name.isidentifier() else f'"{name}"'
    return Table(schema, name, f"{schema}.{quoted}", columns)


def names(*tables):
    return [each.table.name for each in propose([AUTH, *tables])]


def only(*tables):
    [found] = propose([AUTH, *tables])
    return found


def test_the_default_table_is_bound_as_it_is():
    found = only(table("user_subscriptions", **SEED_COLUMNS))
    assert found.statements == ("select hangar.bind_subscriptions('public.user_subscriptions');",)


def test_the_default_name_with_other_columns_is_bound_by_its_own_columns():
    found = only(table("user_subscriptions", user_id="uuid", plan="text", state="text", ends_at="timestamptz"))
    assert found.columns == {"user_id": "user_id", "tier": "plan", "status": "state", "ends_at": "ends_at"}


@pytest.mark.parametrize(
    "columns",
    [
        {"id": "uuid", "title": "text"},
        {"user_id": "uuid", "title": "text"},
        {"user_id": "number", "status": "text"},
        {"status": "text", "plan": "text"},
        {"user_id": "uuid", "status": "timestamptz"},
        {"customer_id": "text", "status": "text"},
    ],
)
def test_a_table_without_a_user_and_a_status_or_plan_is_no_candidate(columns):
    assert names(table("subscriptions", **columns)) == []


def test_the_more_a_table_looks_like_subscriptions_the_earlier_it_comes():
    tasks = table("tasks", user_id="uuid", status="text")
    accounts = table("accounts", owner_id="uuid", plan="text", status="text")
    subscriptions = table("subscriptions", user_id="uuid", status="text", plan="text", ends_at="timestamptz")
    assert names(tasks, accounts, subscriptions) == ["subscriptions", "accounts", "tasks"]
    assert "says nothing of subscriptions" in " ".join(propose([AUTH, tasks])[0].notes)


def test_what_a_table_lacks_is_a_constant_and_a_note():
    found = only(table("memberships", member_id="uuid", plan="text", calendar="text"))
    assert (found.columns["status"], found.columns["ends_at"]) == ({"value": "active"}, {"value": None})
    assert "every row counts as active" in " ".join(found.notes)
    assert "calendar" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("name", "columns", "preset", "ends"),
    [
        ("paddle_subscriptions", {"price_id": "text", "current_period_ends_at": "timestamptz"}, "paddle", {"value": None}),
        ("lemon_squeezy_subscriptions", {"variant_id": "number", "renews_at": "timestamptz", "ends_at": "timestamptz"},
         "lemon_squeezy", "ends_at"),
        ("subscriptions", {"stripe_price_id": "text", "current_period_end": "timestamptz"}, "stripe", "current_period_end"),
        ("subscriptions", {"plan": "text", "trial_end": "timestamptz"}, "default", {"value": None}),
    ],
)  # fmt: skip
def test_a_providers_name_chooses_its_rules_and_its_end(name, columns, preset, ends):
    found = only(table(name, user_id="uuid", status="text", **columns))
    assert (found.preset, found.columns["ends_at"]) == (preset, ends)
    assert any("use_status_rules" in each for each in found.statements) == (preset != "default")


def test_a_boolean_status_brings_its_rules():
    found = only(table("licences", user_id="uuid", plan="text", is_active="bool"))
    assert "('true', 'entitled'), ('false', 'no')" in found.statements[0]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("customers", [{"id": "uuid", "stripe_customer_id": "text"}, {"id": "uuid"}])
def test_stripe_sync_engine_is_recognised_in_both_generations(second, customers):
    raw = {"_raw_data": "json"} if second else {}
    engine = table("subscriptions", "stripe", id="text", customer="text", status="text", items="json", **raw)
    found = only(engine, table("customers", "stripe", id="text"), table("customers", **customers))
    by = "table" if "stripe_customer_id" in customers else "metadata"
    assert found.files == (f"stripe_users_by_{by}.sql", "stripe_sync_engine.sql")
    assert ("second" if second else "first") in found.notes[0]
    assert found.statements == ()


def test_the_users_of_prisma_are_named_even_without_a_foreign_key():
    people = table("User", id="text", email="text", deletedAt="timestamp")
    subscription = table("Subscription", userId="text", planId="text", status="enum", currentPeriodEnd="timestamp")
    found = only(people, subscription)
    assert found.users == {"table": 'public."User"', "id": "id", "email": "email", "deleted_at": "deletedAt"}
    assert found.columns["user_id"] == "userId"


def test_profiles_that_refer_to_auth_users_need_no_table_of_users():
    profiles = Table("public", "profiles", "public.profiles", {"id": "uuid"}, {"id": ("auth.users", "id")})
    columns = {"profile_id": "uuid", "plan": "text"}
    paid = Table(
        "public", "plans_of_members", "public.plans_of_members", columns, {"profile_id": ("public.profiles", "id")}
    )
    assert only(profiles, paid).users is None


def test_quotes_in_names_are_quoted_for_sql_and_for_json():
    columns = {'user "id"': "uuid", "pl'an": "text", "sta\\tus": "text"}
    [found] = propose([Table("public", "it's", '''public."it's"''', columns)])
    assert found.statements[0] == (
        """select hangar.bind_subscriptions('public."it''s"', '{"user_id": "user \\"id\\"", "tier": "pl''an", """
        """"status": "sta\\\\tus", "ends_at": {"value": null}}');"""
    )


def test_a_name_that_a_terminal_would_obey_is_not_shown():
    assert propose([Table("public", "s\x1b[2J", '"public"."s\x1b[2J"', {"user_id": "uuid", "plan": "text"})]) == []


def test_two_tables_that_refer_to_each_other_end():
    one = Table("public", "one", "public.one", {"user_id": "uuid", "plan": "text"}, {"user_id": ("public.two", "id")})
    two = Table("public", "two", "public.two", {"id": "uuid"}, {"id": ("public.one", "user_id")})
    assert len(propose([one, two])) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (None, True)),
        (" ", (None, True)),
        ("1900000000", (1_900_000_000, True)),
        ("1900000000000", (1_900_000_000, True)),
        ("2030-01-01", (1_893_456_000, True)),
        ("2030-01-01T00:00:00Z", (1_893_456_000, True)),
        ("2030-01-01 02:00:00+02", (1_893_456_000, True)),
        ("infinity", (float("inf"), True)),
        ("01/02/2030", (None, False)),
        ("1e300", (None, False)),
    ],
)
def test_an_end_is_read_as_hangar_reads_it(text, expected):
    assert parse_end(text, is_number=False) == expected


def test_a_word_without_a_rule_is_unknown_before_the_end_is_looked_at():
    assert judge({"active": "entitled"}, "pro", "lifetime", 1.0, now=2.0).startswith("unknown")
    assert judge({"active": "entitled"}, "pro", " Active ", None, now=2.0) == "entitled"
