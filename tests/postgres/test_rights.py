"""What each of Supabase's API roles may do with every object of ours and of the host, found from the catalog.

The tables below say what is meant. A new table, view, sequence, function, policy or column grant that nobody has written
down here fails, and so does a right that was given or lost. PUBLIC counts for every role.
"""

import pytest

pytestmark = pytest.mark.every_postgres

WRITES = {"a": "insert", "w": "update", "d": "delete", "D": "truncate", "x": "references", "t": "trigger"}
TABLE_RIGHTS = {"r": "select"} | WRITES
SEQUENCE_RIGHTS = {"r": "select", "w": "update", "U": "usage"}
RELATIONS = """
                                    anon  authenticated  service_role
hangar.alert_deliveries             -     -              r
hangar.alert_deliveries_seq_seq     -     -              -
hangar.alert_destinations           -     -              r
hangar.alert_handling               -     -              r
hangar.alerts                       -     -              r
hangar.alerts_seq_seq               -     -              -
hangar.app_health                   -     -              r
hangar.archive_batches              -     -              r
hangar.archive_batches_id_seq       -     -              -
hangar.binding                      -     -              r
hangar.erased_users                 -     -              r
hangar.failing_apps                 -     -              r
hangar.host_losses                  -     -              r
hangar.host_state                   -     -              r
hangar.intended_deletions           -     -              r
hangar.marks                        -     -              r
hangar.operators                    -     -              r
hangar.original_apps                -     -              r
hangar.original_objects             -     -              r
hangar.original_objects_nr_seq      -     -              -
hangar.recorded_shape               -     -              r
hangar.region_capacity              -     -              r
hangar.release_targets              -     -              r
hangar.releases                     -     -              r
hangar.releases_id_seq              -     -              -
hangar.schema_migrations            -     -              r
hangar.settings                     -     -              r
hangar.signing_keys                 -     -              r
hangar.status_rules                 -     -              r
hangar.sweeps                       -     -              r
hangar.token_revocations            -     -              r
hangar.user_pins                    -     -              r
hangar.user_secrets                 -     -              r
hangar.user_specs                   -     -              r
public.fly_cost_intervals           -     -              r
public.fly_cost_intervals_seq_seq   -     -              -
public.fly_failures                 -     -              r
public.fly_fleet_summary            -     -              r
public.fly_health_summary           -     -              r
public.fly_orphans                  -     -              r
public.fly_overrides                -     -              r
public.fly_plans                    -     -              rawd
public.fly_recent_events            -     -              r
public.user_fly_app_events          -     r              r
public.user_fly_app_events_seq_seq  -     -              -
public.user_fly_apps                -     r              r
"""
# The host's own, as the local cloud makes them.
HOSTS = """
public.signals                      -     ra             rawdDxt
public.traders                      -     r              rawdDxt
public.user_profiles                -     r              rawdDxt
public.user_subscriptions           -     rw             rawdDxt
"""
# What row level security lets through, beyond which a right of the table above reaches nothing (service_role bypasses it).
POLICIES = """
public.signals              not_revoked                         ALL     authenticated
public.signals              signals_insert_own                  INSERT  authenticated
public.signals              signals_select_own                  SELECT  authenticated
public.traders              not_revoked                         ALL     authenticated
public.traders              traders_select                      SELECT  authenticated
public.user_fly_app_events  not_revoked                         SELECT  authenticated
public.user_fly_app_events  own_row                             SELECT  authenticated
public.user_fly_apps        not_revoked                         SELECT  authenticated
public.user_fly_apps        own_row                             SELECT  authenticated
public.user_profiles        not_revoked                         ALL     authenticated
public.user_profiles        user_profiles_select_own            SELECT  authenticated
public.user_subscriptions   not_revoked                         ALL     authenticated
public.user_subscriptions   user_subscriptions_select           SELECT  authenticated
public.user_subscriptions   user_subscriptions_update_as_admin  UPDATE  authenticated
"""
# The procedures of docs/database.md: only service_role calls them.
PROCEDURES = """
fly_acknowledge_alert
fly_add_operator fly_admin_brake fly_admin_events fly_admin_failures fly_admin_figures fly_admin_fleet fly_admin_frame
fly_admin_release fly_admin_releases
fly_admin_search fly_admin_user
fly_admit fly_advance_releases fly_apply_marks fly_approve_orphan fly_begin_user_secret
fly_begin_adoption fly_finish_adoption fly_legacy_apps
fly_archive_batches fly_archive_delete fly_archive_plan fly_archive_read fly_archive_record
fly_brake_status fly_change_release fly_claim fly_claim_due
fly_cost_report fly_create_release fly_credentials fly_doctor fly_end_outage fly_erase_user fly_erased_users
fly_end_removal_hold fly_find_users
fly_fleet_page fly_judge_orphan fly_list_alerts fly_list_orphans fly_migration_candidates fly_operator
fly_operators fly_overview fly_raise_alert fly_record_deliveries fly_record_orphan_absence fly_record_orphan_outcome
fly_record_command fly_record_orphans fly_record_refusal fly_record_release_looks fly_record_signing_keys
fly_record_sweep fly_record_user_secret
fly_release
fly_release_brake fly_releases fly_remove_operator fly_renew_tokens fly_resolve_alert
fly_request_new_name fly_retry fly_revoke_user fly_save fly_set_override fly_set_paused fly_set_plan
fly_search_log fly_set_settings fly_set_user_pin fly_start_drift_repairs fly_sweep_claim
fly_snooze_alert fly_sweep_finish fly_sweep_progress fly_sync_entitlements fly_take_alerts fly_user_export fly_user_status
fly_wake_alert
"""
# The functions of schema hangar that a role of the API may call: views ask them as their reader.
OPEN_IN_HANGAR = {"hangar.now()": "- - X", "hangar.token_is_valid()": "X X X", "hangar.user_email(uuid)": "- - X"}

ROLES = "unnest(array['anon', 'authenticated', 'service_role']) with ordinality r (role, position)"
OURS_AND_HOSTS = "n.nspname in ('public', 'hangar')"


def read(text):
    """Name and rights of each line, single-spaced; a head has no name."""
    lines = [line.split() for line in text.splitlines() if line and not line.startswith(" ")]
    return {name: " ".join(rights) for name, *rights in lines}


def rights_of(common, kinds, test, letters):
    """For each relation of these kinds, the letters of each role, as reported by `has_…_privilege`."""
    asked = ", ".join(f"('{letter}', '{right}')" for letter, right in letters.items())
    rows = common.sql(
        f"""select n.nspname || '.' || c.relname as name,
                   (select string_agg(coalesce((select string_agg(letter, '') from (values {asked}) l (letter, kind)
                                                 where case when c.relkind::text = any(%s) then {test}(role, c.oid, kind) end),
                                               '-'), ' ' order by position) from {ROLES}) as rights
              from pg_class c join pg_namespace n on n.oid = c.relnamespace
             where {OURS_AND_HOSTS} and c.relkind::text = any(%s)""",
        kinds,
        kinds,
    )
    return {row["name"]: row["rights"] for row in rows}


def test_every_table_view_and_sequence_is_open_to_the_right_roles(common):
    """A visitor reaches nothing, a user reads two tables of ours, service_role writes fly_plans alone."""
    tables = rights_of(common, ["r", "v", "m", "p", "f"], "has_table_privilege", TABLE_RIGHTS)
    sequences = rights_of(common, ["S"], "has_sequence_privilege", SEQUENCE_RIGHTS)
    assert tables | sequences == read(RELATIONS) | read(HOSTS)


def test_no_column_has_rights_of_its_own(common):
    """A grant on a column opens what the table above calls closed, and stays when the table's is taken back."""
    assert (
        common.sql(
            f"""select a.attrelid::regclass::text, a.attname from pg_attribute a join pg_class c on c.oid = a.attrelid
                  join pg_namespace n on n.oid = c.relnamespace where {OURS_AND_HOSTS} and a.attacl is not null"""
        )
        == []
    )


def test_every_policy_is_one_that_was_meant(common):
    """Every table of ours has one more policy, for service_role alone: it states that other roles have no access."""
    rows = common.sql(
        """select schemaname || '.' || tablename as relation, policyname, cmd, array_to_string(roles, ',') as roles, permissive
             from pg_policies where schemaname in ('public', 'hangar')"""
    )
    # A restrictive policy gives nothing: it only takes away.
    assert {row["policyname"] for row in rows if row["permissive"] != "PERMISSIVE"} == {"not_revoked"}
    found = sorted(f"{row['relation']} {row['policyname']} {row['cmd']} {row['roles']}" for row in rows)
    ours = [name for name in read(RELATIONS) if (name, "r") in kinds_of(common)]
    expected = [" ".join(line.split()) for line in POLICIES.splitlines() if line]
    assert found == sorted([*expected, *(f"{name} service_role_all ALL service_role" for name in ours)])


def kinds_of(common):
    rows = common.sql(
        f"""select n.nspname || '.' || c.relname as name, c.relkind::text as kind
              from pg_class c join pg_namespace n on n.oid = c.relnamespace where {OURS_AND_HOSTS}"""
    )
    return {(row["name"], row["kind"]) for row in rows}


def test_every_function_is_open_to_the_right_roles(common):
    """service_role calls the procedures and hangar.now(). No role calls another function directly."""
    rows = common.sql(
        f"""select n.nspname || '.' || p.proname as name, p.oid::regprocedure::text as signature,
                   (select string_agg(case when has_function_privilege(role, p.oid, 'execute') then 'X' else '-' end, ' '
                                      order by position) from {ROLES}) as rights
              from pg_proc p join pg_namespace n on n.oid = p.pronamespace where {OURS_AND_HOSTS}"""
    )
    public = {row["name"].removeprefix("public."): row["rights"] for row in rows if row["name"].startswith("public.")}
    hosts = {"handle_new_user": "- - -", "touch_updated_at": "- - -"}
    assert public == dict.fromkeys(PROCEDURES.split(), "- - X") | hosts
    hangar = {row["signature"]: row["rights"] for row in rows if row["name"].startswith("hangar.")}
    assert {name: rights for name, rights in hangar.items() if rights != "- - -"} == OPEN_IN_HANGAR
    assert len(hangar) > 40


def test_no_role_creates_objects_in_our_schemas_and_only_service_role_uses_hangar(common):
    """A role that could make a function could put one before ours."""
    rows = common.sql(
        f"""select n.nspname, (select string_agg(concat(case when has_schema_privilege(role, n.oid, 'usage') then 'U' end,
                                                        case when has_schema_privilege(role, n.oid, 'create') then 'C' end, '.'),
                                                 ' ' order by position) from {ROLES}) as rights
              from pg_namespace n where {OURS_AND_HOSTS} or n.nspname = 'vault'"""
    )
    assert {row["nspname"]: row["rights"] for row in rows} == {
        "hangar": ". . U.",
        "public": "U. U. U.",
        "vault": ". . U.",
    }


def test_a_function_with_its_owners_rights_belongs_to_the_migrations(common):
    """SECURITY DEFINER runs as `postgres`, which is not a superuser, never as a stronger role."""
    rows = common.sql(
        f"""select p.oid::regprocedure::text as name from pg_proc p join pg_namespace n on n.oid = p.pronamespace
             where {OURS_AND_HOSTS} and p.prosecdef and p.proowner <> 'postgres'::regrole"""
    )
    assert rows == []
    assert common.one("select rolsuper from pg_roles where rolname = 'postgres'") is False
