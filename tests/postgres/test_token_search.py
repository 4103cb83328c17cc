"""The search for tokens that are due runs with every drain. At rest it reads none of the fleet's rows."""

import pytest

FLEET = 3000
# A copy of one app's row for each further user; triggers and constraints about users are not what is measured.
FILL = """
set session_replication_role = replica;
insert into public.user_fly_apps
select (jsonb_populate_record(a, jsonb_build_object('id', gen_random_uuid(), 'user_id', gen_random_uuid(), 'machine_id', 'm' || n,
          'fly_app_name', 'vyx-user-' || n, 'network', 'n-' || n))).*
  from public.user_fly_apps a cross join generate_series(1, %s) n;
set session_replication_role = origin;
"""
AT_REST = """
update public.user_fly_apps set token_issued_at = now(), token_expires_at = now() + interval '30 days',
  token_running_until = now() + interval '30 days', token_key_id = 'a', status = 'active', observed_generation = generation
"""


@pytest.fixture
def fleet(hangar):
    hangar.converge(hangar.user("pro"))
    session = hangar.connect(hangar.url)
    session.execute(FILL % (FLEET - 1))
    session.execute(AT_REST)
    session.execute("vacuum analyze public.user_fly_apps")
    return session


def count_reads(fleet, call):
    """Rows of the fleet's table that one call reads: by scans of the whole table, and by way of an index."""
    query = (
        "select coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
        " where relid = 'public.user_fly_apps'::regclass"
    )
    with fleet.transaction():
        before = fleet.execute(query).fetchone()
        fleet.execute(call)
        after = fleet.execute(query).fetchone()
    return after[0] - before[0], after[1] - before[1]


RENEW = "select hangar.renew_tokens()"


@pytest.mark.slow
def test_a_fleet_at_rest_costs_no_read(fleet):
    assert count_reads(fleet, RENEW) == (0, 0)


@pytest.mark.slow
def test_after_a_new_key_has_reached_every_app_it_costs_no_read_again(fleet):
    """`renew_tokens_from` stays set for ever; only tokens that are older than it are looked for."""
    fleet.execute("update hangar.settings set renew_tokens_from = hangar.now() - interval '1 hour'")
    fleet.execute("select public.fly_record_signing_keys('a', '[\"a\"]')")
    assert count_reads(fleet, RENEW) == (0, 0)


@pytest.mark.slow
def test_apps_that_must_wait_cost_their_own_rows_and_not_the_fleet(fleet):
    """Five unhealthy apps wait for the last days of their tokens, and every drain passes them over."""
    fleet.execute(
        "update public.user_fly_apps set token_issued_at = hangar.now() - interval '2 days', health_status = 'unhealthy'"
        " where id in (select id from public.user_fly_apps order by id limit 5)"
    )
    fleet.execute("update hangar.settings set renew_tokens_from = hangar.now() - interval '1 day'")
    whole, some = count_reads(fleet, "select hangar.find_due_tokens((select renew_tokens_from from hangar.settings))")
    assert (whole, some) == (0, 5)
    assert fleet.execute("select count(*) from public.user_fly_apps where token_renewal_at is not null").fetchone() == (
        0,
    )


@pytest.mark.parametrize(
    "change",
    [
        "token_expires_at = hangar.now() + interval '9 days'",
        "token_expires_at = null",
        "token_running_until = null",
        "token_running_until = hangar.now() + interval '9 days'",
        "token_issued_at = hangar.now() - interval '2 days'",
        "token_key_id = 'revoked'",
    ],
)
@pytest.mark.slow
def test_every_kind_of_token_that_is_due_is_found(fleet, change):
    fleet.execute("update hangar.settings set renew_tokens_from = hangar.now() - interval '1 day'")
    [(row,)] = fleet.execute(
        f"update public.user_fly_apps set {change} where id = (select min(id::text)::uuid from public.user_fly_apps) returning id"
    ).fetchall()
    fleet.execute("select public.fly_record_signing_keys('a', '[\"a\"]')")
    assert fleet.execute(RENEW).fetchone() == (1,)
    renewed = "select id from public.user_fly_apps where token_renewal_at is not null"
    assert fleet.execute(renewed).fetchall() == [(row,)]
