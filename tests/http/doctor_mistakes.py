# ruff: noqa: E501  a table: one mistake stays readable as one entry
"""Mistakes that a stranger makes with an installation: how to make each, which check names it, and what ends it."""

from dataclasses import dataclass, field

VAULT = "update vault.secrets set secret = translate(encode(convert_to({}, 'utf8'), 'base64'), E'\\n', '') where name = '{}'"
JOBS = "cron.job where jobname = "
SECOND_SECRET = "whsec_" + "q83v" * 8


@dataclass(frozen=True)
class Mistake:
    """`make` is SQL of the database owner, `env` what the shell has instead, `faults` what Fly answers, `skew_s` its clock.

    The remedy that doctor shows is run as it is, as SQL or as a command, if `runs` says so. Otherwise it has a placeholder,
    and `undo` does what it says. `after` is SQL that only tidies up. `role` runs SQL; on Supabase it is always `postgres`.
    """

    name: str
    check: str
    make: str = ""
    state: str = "wrong"
    says: str = ""
    env: dict[str, str] = field(default_factory=dict)
    faults: tuple[dict[str, object], ...] = ()
    skew_s: float = 0
    runs: str = "nothing"
    undo: str = ""
    after: str = ""
    role: str = "postgres"


def vault(name: str, value: str) -> str:
    """Give the secret `name` in Vault another value, an SQL expression."""
    return VAULT.format(value, name)


def keep(table: str) -> str:
    """Remember the rows of a table, for `bring_back`."""
    return f"create table public.kept as select * from {table};"


KEEP_VAULT = keep("vault.secrets")
BRING_VAULT = "delete from vault.secrets; insert into vault.secrets select * from public.kept; drop table public.kept"
KEEP_SETTINGS = keep("hangar.settings")
REPLICA = "set session_replication_role = replica; {} set session_replication_role = origin;"
BRING_SETTINGS = REPLICA.format(
    "delete from hangar.settings; insert into hangar.settings select * from public.kept; drop table public.kept;"
)
URLS = "select decrypted_secret::jsonb from vault.decrypted_secrets where name = 'hangar_functions_url'"


def urls(change: str) -> str:
    """Change the functions' URLs in Vault. `change` is SQL over the JSON object `u`."""
    return KEEP_VAULT + vault("hangar_functions_url", f"(select ({change})::text from ({URLS}) x (u))")


CALLS = (
    Mistake("other secret in Vault", "function_health", KEEP_VAULT + vault("hangar_webhook_secret", f"'{SECOND_SECRET}'"),
            says="rejects the signature", undo=BRING_VAULT),
    Mistake("other secret in the shell", "webhook_secret", env={"HANGAR_WEBHOOK_SECRET": SECOND_SECRET}, says="two different"),
    Mistake("no secret in Vault", "vault_webhook_secret", KEEP_VAULT + "delete from vault.secrets where name = 'hangar_webhook_secret'",
            says="no hangar_webhook_secret", undo=BRING_VAULT),
    Mistake("secret in Vault without whsec_", "vault_webhook_secret", KEEP_VAULT + vault("hangar_webhook_secret", "'hunter2'"),
            says="does not have the form", undo=BRING_VAULT),
    Mistake("Vault open to everybody", "vault_webhook_secret",
            "set role postgres; grant usage on schema vault to anon; grant select on vault.decrypted_secrets to anon; reset role",
            says="anon may read Vault", runs="sql", after="set role postgres; revoke usage on schema vault from anon; reset role"),
    Mistake("one column of Vault open", "vault_webhook_secret",
            "grant usage on schema vault to authenticated; grant select (name) on vault.secrets to authenticated",
            says="authenticated may read Vault", undo="revoke usage on schema vault from authenticated; revoke select (name) on vault.secrets from authenticated"),
    Mistake("Vault closed to Hangar", "vault_webhook_secret",
            "revoke pg_read_all_data from postgres; revoke select on vault.decrypted_secrets from postgres, service_role",
            says="postgres, which lacks a right", undo="grant pg_read_all_data to postgres; grant select on vault.decrypted_secrets to postgres with grant option; "
            "grant select on vault.decrypted_secrets to service_role"),
    Mistake("pg_net closed to Hangar", "pg_net",
            "revoke execute on function net.http_post from public, postgres, anon, authenticated, service_role", says="postgres, which lacks a right",
            undo="grant execute on function net.http_post to postgres, anon, authenticated, service_role"),
    Mistake("no URL in Vault", "vault_functions_url", KEEP_VAULT + "delete from vault.secrets where name = 'hangar_functions_url'",
            says="no hangar_functions_url", undo=BRING_VAULT),
    Mistake("URL without https", "vault_functions_url", KEEP_VAULT + vault("hangar_functions_url", "'functions.example.test'"),
            says="form https://", undo=BRING_VAULT),
    Mistake("URL that ends in a function", "vault_functions_url", KEEP_VAULT + vault("hangar_functions_url", "'http://127.0.0.1:9/health/'"),
            says="ends in the name", undo=BRING_VAULT),
    Mistake("URL for one function only", "vault_functions_url", urls("u - 'health'"), says="no URL for health", undo=BRING_VAULT),
    Mistake("URL where nothing listens", "function_provision", urls("u || '{\"provision\": \"http://127.0.0.1:9/\"}'"),
            says="does not answer", undo=BRING_VAULT),
    Mistake("URL of another function", "function_health", urls("jsonb_set(u, '{health}', u -> 'provision')"),
            says="another function", undo=BRING_VAULT),
    Mistake("URL that answers 404", "function_deprovision", urls("jsonb_set(u, '{deprovision}', '\"{supabase}/nothing\"')"),
            says="no function at this URL", undo=BRING_VAULT),
    Mistake("no job for the drain", "cron_drain", "delete from cron.job where jobname = 'hangar-drain'", says="has no job", runs="sql"),
    Mistake("disabled job", "cron_sweep", "update cron.job set active = false where jobname = 'check-fly-apps-health'",
            says="disabled", runs="sql"),
    Mistake("other schedule", "cron_sweep", "update cron.job set schedule = '0 3 * * *' where jobname = 'check-fly-apps-health'",
            says="0 3 * * *", runs="sql"),
    Mistake("other command", "cron_drain", "update cron.job set command = 'select 1' where jobname = 'hangar-drain'",
            says="another command", runs="sql"),
    Mistake("no pg_cron, no sweeps", "pg_cron", "alter schema cron rename to cron_gone; update hangar.sweeps set completed_at = now() - interval '2 hours'",
            says="not installed", undo="alter schema cron_gone rename to cron; update hangar.sweeps set completed_at = now()"),
    Mistake("no pg_net", "pg_net", "alter schema net rename to net_gone", says="not installed", undo="alter schema net_gone rename to net"),
    Mistake("no sweep for hours", "sweep", "update hangar.sweeps set completed_at = now() - interval '2 hours'", says="last complete sweep",
            runs="command"),
    Mistake("changes that nobody follows", "changes", "insert into hangar.marks (user_id, marked_at) values (null, now() - interval '1 hour')",
            says="wait", runs="command"),
)  # fmt: skip

RIGHTS = (
    Mistake("anon may run a procedure", "procedure_rights", "grant execute on function public.fly_overview() to anon", says="anon may run",
            runs="sql"),
    Mistake("everybody may run a procedure", "procedure_rights", "grant execute on function hangar.call_health(boolean) to public",
            says="authenticated may run", runs="sql"),
    Mistake("service_role may not run one", "procedure_rights", "revoke execute on function public.fly_claim_due from service_role",
            says="fly_claim_due", runs="sql"),
    Mistake("a copy without comments and rights", "procedure_rights", "do $$ declare f regprocedure; begin for f in select oid from pg_proc"
            " where pronamespace = 'public'::regnamespace and proname like 'fly\\_%' loop execute format('comment on function %s is null', f);"
            " execute format('grant execute on function %s to public', f); end loop; end $$", says="anon may run public.fly_", runs="sql"),
    Mistake("row level security off", "row_security", "alter table public.user_fly_apps disable row level security", says="user_fly_apps", runs="sql"),
    Mistake("service_role cannot read", "table_rights", "revoke select on public.fly_plans from service_role", says="may not select", runs="sql"),
    Mistake("users read the plans", "table_rights", "grant select on public.fly_plans to authenticated", says="authenticated may select", runs="sql"),
    Mistake("users write a column", "table_rights", "grant update (status) on public.user_fly_apps to authenticated", says="authenticated may update",
            runs="sql"),
    Mistake("schema closed", "table_rights", "revoke usage on schema hangar from service_role", says="schema hangar", runs="sql"),
    Mistake("guard disabled", "own_triggers", "alter table public.user_fly_app_events disable trigger append_only", says="append_only", runs="sql"),
    Mistake("function without search_path", "advisors", "alter function hangar.is_org_wide(text) reset search_path", says="is_org_wide", runs="sql"),
    Mistake("view reads as its owner", "advisors", "alter view public.fly_failures set (security_invoker = off)", says="fly_failures", runs="sql"),
    Mistake("index dropped", "schema", "drop index public.user_fly_app_events_user", says="index user_fly_app_events_user", runs="sql"),
    Mistake("policy dropped", "schema", "drop policy own_row on public.user_fly_apps", says="policy own_row", runs="sql"),
    Mistake("policy for everybody", "schema", "create policy all_rows on public.fly_plans for select to anon using (true)", says="all_rows", runs="sql"),
    Mistake("trigger dropped", "schema", "drop trigger guard_plan on public.fly_plans", says="trigger guard_plan", runs="sql"),
    Mistake("procedure missing", "schema", "alter function public.fly_take_alerts rename to fly_took_alerts", says="fly_take_alerts",
            undo="alter function public.fly_took_alerts rename to fly_take_alerts"),
    Mistake("column missing", "schema", "alter table public.fly_orphans rename column listed to was_listed", says="column listed",
            undo="alter table public.fly_orphans rename column was_listed to listed"),
    Mistake("function with another text", "schema", "create or replace function hangar.is_unknown(p_why text) returns boolean language sql immutable"
            " set search_path = '' as 'select true'", says="is_unknown", undo="file:is_unknown"),
    Mistake("short statement_timeout", "statement_timeout", "alter role service_role set statement_timeout = '1500ms'; notify pgrst, 'reload config'",
            says="1500 ms", runs="sql", role="supabase_admin", after="alter role service_role reset statement_timeout"),
)  # fmt: skip

PAYING = "select id from auth.users where email = 'payer@example.test'"
PAYER = (
    "insert into auth.users (id, email) values (gen_random_uuid(), 'payer@example.test');"
    " update public.user_subscriptions set {} where user_id = (" + PAYING + ")"
)
NO_PAYER = "delete from auth.users where email = 'payer@example.test'; delete from hangar.marks"

HOST = (
    Mistake("not bound", "binding", "select hangar.unbind()", says="not bound", undo="select hangar.bind_subscriptions('public.user_subscriptions')"),
    Mistake("column renamed", "binding", "alter table public.user_subscriptions rename column tier to plan_name", says="cannot be read",
            undo="alter table public.user_subscriptions rename column plan_name to tier; select hangar.bind_subscriptions('public.user_subscriptions')"),
    Mistake("trigger of the host dropped", "host_triggers", "drop trigger hangar_mark_update on public.user_subscriptions", says="missing", runs="sql"),
    Mistake("trigger of the host disabled", "host_triggers", "alter table public.user_subscriptions disable trigger hangar_mark_insert",
            says="disabled", runs="sql"),
    Mistake("unknown status", "statuses", "alter table public.user_subscriptions drop constraint user_subscriptions_status_check; " + PAYER.format("tier = 'pro', status = 'frozen'"),
            says="'frozen'", runs="sql", after=NO_PAYER + "; alter table public.user_subscriptions add constraint user_subscriptions_status_check"
            " check (status in ('active', 'cancelled', 'past_due')); delete from hangar.status_rules where status = 'frozen'"),
    Mistake("tier without plan", "tiers", "alter table public.user_subscriptions drop constraint user_subscriptions_tier_check; " + PAYER.format("tier = 'gold'"),
            says="'gold'", runs="sql", after=NO_PAYER + "; alter table public.user_subscriptions add constraint user_subscriptions_tier_check"
            " check (tier in ('free', 'pro', 'elite')); delete from public.fly_plans where tier = 'gold'"),
    Mistake("plan without price", "plan_prices", keep("public.fly_plans") + "update public.fly_plans set price_usd = null where tier = 'pro'",
            "warning", "pro", runs="sql",
            after="update public.fly_plans p set price_usd = k.price_usd from public.kept k where k.tier = p.tier; drop table public.kept"),
    Mistake("plan in an unknown region", "plans", REPLICA.format("insert into public.fly_plans (tier, dedicated, region) values ('moon', true, 'zzz');"),
            says="'zzz'", runs="sql", after="delete from public.fly_plans where tier = 'moon'"),
    Mistake("plan of an unknown size", "plans", REPLICA.format("insert into public.fly_plans (tier, dedicated, cpu_count) values ('odd', true, 3);"),
            says="3 shared vCPU", runs="sql", after="delete from public.fly_plans where tier = 'odd'"),
    Mistake("image of a plan without tag", "plans", "insert into public.fly_plans (tier, dedicated, docker_image) values ('bare', true, 'acme/app')",
            says="no tag", runs="sql", after="delete from public.fly_plans where tier = 'bare'"),
)  # fmt: skip

SETTINGS = (
    Mistake("default image without tag", "settings", KEEP_SETTINGS + REPLICA.format("update hangar.settings set default_image = 'acme/app';"),
            says="default_image", runs="command", after=BRING_SETTINGS),
    Mistake("empty app_prefix", "settings", KEEP_SETTINGS + "alter table hangar.settings drop constraint settings_app_prefix_check;"
            "update hangar.settings set app_prefix = ''", says="app_prefix", runs="command", after=BRING_SETTINGS
            + "; alter table hangar.settings add constraint settings_app_prefix_check check (app_prefix ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$')"),
    Mistake("app_prefix too long", "settings", KEEP_SETTINGS + "alter table hangar.settings drop constraint settings_app_prefix_check;"
            "update hangar.settings set app_prefix = repeat('a', 60)", says="app_prefix", runs="command", after=BRING_SETTINGS
            + "; alter table hangar.settings add constraint settings_app_prefix_check check (app_prefix ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$')"),
    Mistake("not live", "live", "update hangar.settings set live = false", "warning", "not live", runs="command"),
    Mistake("paused", "paused", "update hangar.settings set paused = true", "warning", "Hangar is paused", runs="command"),
    Mistake("paused for days", "paused", REPLICA.format("update hangar.settings set paused = true, updated_at = now() - interval '3 days';"),
            says="3 days", runs="command"),
    Mistake("deletions paused", "paused", "update hangar.settings set deletes_paused = true", "warning", "deletions", runs="command"),
    Mistake("brake engaged", "brake", KEEP_SETTINGS + "update hangar.settings set brake_floor = 2, brake_share = 0; insert into public.user_fly_app_events"
            " (event_type, status, metadata) select 'action', 'intent', jsonb_build_object('action', 'delete_app', 'purpose', 'orphan', 'app', n::text)"
            " from generate_series(1, 3) n", says="brake is on", runs="command", after="update hangar.settings g set brake_floor = k.brake_floor,"
            " brake_share = k.brake_share from public.kept k; drop table public.kept"),
    Mistake("loss of the host is held", "brake", "update hangar.host_state set held_since = now(), losing = 9, present = 10, reason = 'share'",
            says="9 of 10", runs="command", after="update hangar.host_state set held_since = null, losing = 0, present = 0, reason = null, obeyed_by = null"),
    Mistake("nobody may sign in", "operators", keep("hangar.operators") + "delete from hangar.operators", "warning", "nobody",
            undo="insert into hangar.operators select * from public.kept; drop table public.kept"),
    Mistake("region full", "full_regions", "insert into hangar.region_capacity (region, size_kind, until) values ('sin', 'shared', now() + interval '9 minutes')",
            "warning", "sin", undo="delete from hangar.region_capacity"),
    Mistake("clock of the database replaced", "database_clock", "create or replace function hangar.now() returns timestamptz language plpgsql stable"
            " set search_path = '' as 'begin return pg_catalog.clock_timestamp() + interval ''90 seconds''; end'", says="90 s", runs="sql"),
)  # fmt: skip

NOT_PAID = {"error": "Your organization has an unpaid invoice. Please update your billing details."}
OTHER_ORG = {"tokens": [{"token_id": "t", "organization": "Other", "org_slug": "other-org", "apps": [], "user": "u"}]}
ONE_MACHINE = {"tokens": [{"token_id": "t", "org_slug": "", "apps": [], "restricted_to_machine": "abc"}]}
ONE_APP = {"tokens": [{"token_id": "t", "organization": "", "org_slug": "", "apps": ["their-app"], "user": ""}]}

OUTSIDE = (
    Mistake("wrong secret key", "database", env={"SUPABASE_SECRET_KEY": "sb_secret_0000000000000000000000"}, says="refused"),
    Mistake("publishable key as secret key", "environment", env={"SUPABASE_SECRET_KEY": "sb_publishable_0000000000000000"}, says="SUPABASE_SECRET_KEY"),
    Mistake("project out of reach", "database", env={"SUPABASE_URL": "http://127.0.0.1:9"}, says="cannot be reached"),
    Mistake("wrong publishable key", "publishable_key", env={"SUPABASE_PUBLISHABLE_KEY": "sb_publishable_0000000000000000"}, says="rejects"),
    Mistake("installation of another database", "installation_id", env={"HANGAR_INSTALLATION_ID": "33333333-3333-4333-8333-333333333333"},
            says="33333333"),
    Mistake("other functions than in Vault", "functions_url", env={"HANGAR_FUNCTIONS_URL": "http://127.0.0.1:9"}, state="warning",
            says="health is http://127.0.0.1:9/health here"),
    Mistake("malformed setting", "environment", env={"CLOUD_RUN_TIMEOUT_SECONDS": "an hour"}, says="CLOUD_RUN_TIMEOUT_SECONDS"),
    Mistake("token that Fly rejects", "fly_token", env={"FLY_API_TOKEN": "FlyV1 fm2_expired00000000"}, says="rejects the token"),
    Mistake("token of another organisation", "fly_token_scope", faults=({"method": "GET", "path": "/v1/tokens/current", "status": 200, "body": OTHER_ORG},),
            says="other-org"),
    Mistake("token of one app", "fly_token_scope", faults=({"method": "GET", "path": "/v1/tokens/current", "status": 200, "body": ONE_APP},),
            says="their-app"),
    Mistake("token of one machine", "fly_token_scope", faults=({"method": "GET", "path": "/v1/tokens/current", "status": 200, "body": ONE_MACHINE},),
            says="one machine only"),
    Mistake("organisation that does not exist", "fly_organisation", "update hangar.settings set fly_org_slug = 'no-such-org'",
            env={"FLY_ORG_SLUG": "no-such-org"}, says="no organisation", undo="update hangar.settings set fly_org_slug = 'hangar-local'"),
    Mistake("two organisations", "fly_organisation", env={"FLY_ORG_SLUG": "another-org"}, says="another-org"),
    Mistake("unpaid organisation", "fly_organisation", faults=({"method": "GET", "path": "/v1/apps", "status": 403, "body": NOT_PAID},), says="unpaid"),
    Mistake("Fly's clock is ahead", "clocks", skew_s=120, says="Fly's clock is"),
    Mistake("no receiver of alerts", "alert_webhook", env={"HANGAR_ALERT_WEBHOOK_URL": ""}, state="warning", says="not set"),
    Mistake("receiver that is gone", "alert_webhook", env={"HANGAR_ALERT_WEBHOOK_URL": "http://127.0.0.1:9/secret-path"}, says="does not answer"),
)  # fmt: skip

OTHER_JOB = (
    "insert into cron.job (jobname, schedule, command, nodename, nodeport, database, username, active) select 'old-sweep', '* * * * *',"
    " command, nodename, nodeport, database, username, true from cron.job where jobname = 'check-fly-apps-health'"
)
APPEND_ONLY = (
    "create trigger append_only before update or delete on public.user_fly_app_events for each row execute function "
)
NOTHING = "create function public.nothing() returns trigger language plpgsql as 'begin return new; end'; "
SUBSCRIPTIONS = (
    "create or replace function public.subs(uuid[]) returns table (user_id uuid, tier text, status text, ends_at timestamptz)"
    " language plpgsql stable as 'begin {} end';"
)
READ = "return query select s.user_id, s.tier::text, s.status::text, s.expires_at from public.user_subscriptions s where s.user_id = any ($1);"


def setting(change: str) -> str:
    """Give settings values that their guards allow."""
    return KEEP_SETTINGS + REPLICA.format(f"update hangar.settings set {change};")


# What was changed by hand in the schema. Each remedy makes it as it was installed.
SHAPE = (
    Mistake("policy that lets everybody read", "shape", "alter policy own_row on public.user_fly_apps using (true)", says="policy own_row", runs="sql"),
    Mistake("policy for another role", "shape", "alter policy own_row on public.user_fly_apps to public", says="policy own_row", runs="sql"),
    Mistake("procedure with the rights of its caller", "shape", "alter function public.fly_overview() security invoker", says="fly_overview", runs="sql"),
    Mistake("rule of a setting dropped", "shape", "alter table hangar.settings drop constraint settings_brake_share_check", says="settings_brake_share_check",
            runs="sql"),
    Mistake("column that may be null", "shape", "alter table public.user_fly_apps alter column network drop not null", says="column network", runs="sql"),
    Mistake("default dropped", "shape", "alter table public.user_fly_apps alter column generation drop default", says="column generation", runs="sql"),
    Mistake("column of another type", "shape", "alter table hangar.alerts alter column message type varchar(2000)", says="column message", runs="sql"),
    Mistake("index that is not unique any more", "shape", "drop index public.user_fly_apps_one_live; create index user_fly_apps_one_live on public.user_fly_apps"
            " (user_id)", says="user_fly_apps_one_live", runs="sql"),
    Mistake("unique rule dropped", "shape", "alter table public.user_fly_apps drop constraint user_fly_apps_fly_app_name_key", says="user_fly_apps_fly_app_name_key",
            runs="sql"),
    Mistake("foreign key dropped", "shape", "alter table public.user_fly_app_events drop constraint user_fly_app_events_fly_app_id_fkey",
            says="user_fly_app_events_fly_app_id_fkey", runs="sql"),
    Mistake("trigger that does nothing", "shape", NOTHING + "drop trigger append_only on public.user_fly_app_events; " + APPEND_ONLY + "public.nothing()",
            says="trigger append_only", runs="sql", after="drop function public.nothing()"),
    Mistake("trigger of the host on a table of Hangar", "shape", NOTHING + "create trigger mine before insert on public.user_fly_app_events for each row"
            " execute function public.nothing()", "warning", "mine on", runs="sql", after="drop function public.nothing()"),
    Mistake("view that shows nothing", "shape", "create or replace view public.fly_failures with (security_invoker = on) as select * from public.fly_failures where"
            " false", says="fly_failures", runs="sql"),
    Mistake("counter behind its rows", "counters", "insert into public.user_fly_app_events (event_type, status, metadata) values ('action', 'info', '{}');"
            " select setval(pg_get_serial_sequence('public.user_fly_app_events', 'seq'), 1, false)", says="user_fly_app_events is at 0", runs="sql",
            role="supabase_admin"),
    Mistake("rule of the host on the log", "shape", "create rule nothing as on insert to public.user_fly_app_events do instead nothing", "warning",
            "rule nothing", runs="sql", role="supabase_admin"),
    Mistake("rule that refuses every mark", "shape", "alter table hangar.marks add constraint never check (false) not valid", "warning",
            "constraint never", runs="sql", role="supabase_admin", after="delete from hangar.marks"),
    Mistake("required column on the marks", "shape", "delete from hangar.marks; alter table hangar.marks add column source text not null", "warning",
            "column source", runs="sql", role="supabase_admin", after="alter table hangar.marks drop column source"),
    Mistake("owner of a table changed", "shape", "alter table public.fly_plans owner to supabase_auth_admin", says="owner table public.fly_plans", runs="sql",
            role="supabase_admin"),
    Mistake("owner of the schema changed", "shape", "alter schema hangar owner to supabase_auth_admin", says="owner schema hangar", runs="sql", role="supabase_admin"),
    Mistake("nobody may ask whether a token is valid", "procedure_rights", "revoke execute on function hangar.token_is_valid() from authenticated",
            says="authenticated may not run hangar.token_is_valid()", runs="sql"),
    Mistake("plans without an app", "plans", keep("public.fly_plans") + "update public.fly_plans set dedicated = false", says="no plan includes", runs="sql",
            after="update public.fly_plans p set dedicated = k.dedicated from public.kept k where k.tier = p.tier; drop table public.kept"),
)  # fmt: skip

GUARDS = (
    Mistake("no app allowed", "caps", setting("max_apps = 0"), says="max_apps is 0", runs="command", after=BRING_SETTINGS),
    Mistake("no dollar allowed", "caps", setting("max_monthly_cost_usd = 0"), says="max_monthly_cost_usd is 0", runs="command", after=BRING_SETTINGS),
    Mistake("brake that stops everything", "brake", setting("brake_floor = 0, brake_share = 0"), says="stops every removal", runs="command", after=BRING_SETTINGS),
    Mistake("brake that stops nothing", "brake", setting("brake_share = 1"), "warning", "nothing stops", runs="command", after=BRING_SETTINGS),
    Mistake("every loss of the host waits", "brake", setting("host_loss_floor = 0, host_loss_share = 0"), says="waits for an operator", runs="command",
            after=BRING_SETTINGS),
    Mistake("no loss of the host waits", "brake", setting("host_loss_share = 1"), "warning", "nothing stops", runs="command", after=BRING_SETTINGS),
    Mistake("tokens are not renewed", "paused", setting("token_renewal_share = 0"), "warning", "token_renewal_share is 0", runs="command", after=BRING_SETTINGS),
    Mistake("drift is not repaired", "paused", setting("drift_share = 0"), "warning", "drift_share is 0", runs="command", after=BRING_SETTINGS),
    Mistake("retention without archive", "retention", setting("events_retention_days = 30") + "insert into public.user_fly_app_events (event_type, status, metadata,"
            " created_at) values ('error_occurred', 'info', '{}', now() - interval '40 days')", "warning", "nothing is deleted", undo=BRING_SETTINGS),
    Mistake("job of another role", "cron_drain", "update cron.job set username = 'anon' where jobname = 'hangar-drain'", says="role anon", runs="sql",
            after="delete from cron.job where username = 'anon'"),
    Mistake("job of another database", "cron_drain", "update cron.job set database = 'other' where jobname = 'hangar-drain'", says="database other", runs="sql"),
    Mistake("second job for the sweep", "cron_sweep", OTHER_JOB, "warning", "another job", runs="sql"),
    Mistake("secret in Vault renamed", "vault_functions_url", KEEP_VAULT + "update vault.secrets set name = 'functions_url' where name = 'hangar_functions_url'",
            says="no hangar_functions_url", undo=BRING_VAULT),
    Mistake("bound function that fails", "binding", SUBSCRIPTIONS.format(READ) + "select hangar.bind_function('public.subs(uuid[])'); "
            + SUBSCRIPTIONS.format("raise exception ''no such plan'';"), says="no such plan", undo=SUBSCRIPTIONS.format(READ),
            after="select hangar.bind_subscriptions('public.user_subscriptions'); drop function public.subs(uuid[])"),
    Mistake("row of the settings deleted", "settings", KEEP_SETTINGS + REPLICA.format("delete from hangar.settings;"), "warning", "not checked", undo=BRING_SETTINGS),
    Mistake("table of the host moved", "binding", "alter table public.user_subscriptions set schema auth", says="does not exist",
            undo="alter table auth.user_subscriptions set schema public; select hangar.bind_subscriptions('public.user_subscriptions')"),
    Mistake("region that Fly closed", "fly_regions", faults=({"method": "GET", "path": "/v1/platform/regions", "status": 200, "body": {"regions": [{"code": "iad"}]}},),
            says="no region sin"),
    Mistake("organisation renamed at Fly", "fly_organisation", faults=({"method": "GET", "path": "/v1/apps", "status": 404, "body": {"error": "not found"}},),
            says="no organisation"),
    Mistake("trial that has ended", "fly_organisation", faults=({"method": "GET", "path": "/v1/apps", "status": 403, "body": {"error": "trial has ended, please add a"
            " credit card"}},), says="trial has ended"),
    Mistake("anon key as secret key", "environment", env={"SUPABASE_SECRET_KEY": "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2ln"}, says="SUPABASE_SECRET_KEY"),
    Mistake("secret key as publishable key", "environment", env={"SUPABASE_PUBLISHABLE_KEY": "sb_secret_0000000000000000000000"}, says="SUPABASE_PUBLISHABLE_KEY"),
    Mistake("URL of the dashboard", "environment", env={"SUPABASE_URL": "https://supabase.com/dashboard/project/abcdefghijklmnopqrst"}, says="https://abcdefghijklmnopqrst.supabase.co"),
    Mistake("URL of the REST API", "environment", env={"SUPABASE_URL": "https://abcdefghijklmnopqrst.supabase.co/rest/v1"}, says="https://abcdefghijklmnopqrst.supabase.co"),
    Mistake("URL of the database host", "environment", env={"SUPABASE_URL": "https://db.abcdefghijklmnopqrst.supabase.co"}, says="https://abcdefghijklmnopqrst.supabase.co"),
)  # fmt: skip

MISTAKES = (*CALLS, *RIGHTS, *HOST, *SETTINGS, *OUTSIDE, *SHAPE, *GUARDS)
