"""What `--json` prints, for each command: the keys are stable, and later versions only add to them.

`docs/commands.md` shows them, and a test compares them with what the commands print. Money is text, times are ISO 8601 with an
offset, a missing value is null.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["object", "list", "lines"]


@dataclass(frozen=True)
class Shape:
    """An object, a list of objects, or lines with one object each. `keys` are those of the object, `note` explains some."""

    kind: Kind
    keys: tuple[str, ...]
    note: str = ""


def _shape(kind: Kind, keys: str, note: str = "") -> Shape:
    return Shape(kind, tuple(keys.split()), note)


_USER_STATUS = (
    "user_id known entitled why subscription override row last symptom cap drift_held pin secrets revocation "
    "token_refused release brake events"
)
_DECISION = "user_id override plan ends_at entitled outcome detail code status app_name next_attempt_at"
_ALERT = "id kind key message metadata opened_at seen_at times told_at user_id app email handling"
_OUTCOME = "`outcome` is `done`, `accepted` (it continues), `recorded` (a drain does it), `refused` or `failed`."
_PLAN = (
    "With `--dry-run` also `notes`; each step says what it runs; without `--dry-run` also how it ended, in `outcome`."
)
_BATCH = (
    "id source first_seq last_seq seqs rows content_bytes content_sha256 schema_version cutoff bucket object "
    "object_sha256 object_bytes state planned_by planned_at written_at verified_at deleted_at problem problem_at installation_id"
)
_CREDENTIALS = (
    "now held_by renewal_share renew_from apps due older_than_renew_from lapsing ended unknown renewed_last_hour first_end "
    "revoked_users signing_key refused"
)
_UNRECORDED = (
    "`unrecorded` is null, or why the audit log could not be written while a stop took effect; the exit code is 1 then."
)
_PIN = "`changed` says whether anything was changed, `updates_machine` whether the machine restarts for it."
_RELEASE = "The release as the database describes it: see [releases.md](releases.md)."

JSON_SHAPES = {
    "adopt": _shape(
        "object",
        "applied apps",
        "Each app has `user_id`, `email`, `app`, `status`, `verdict` (`adopt`, `close`, `cannot`), `code`, `reason`, "
        "`notes`, `entitled`, `why`, `plan`, what Fly says (`network`, `machine_id`, `event_machine_id`, `machine_state`, "
        "`region`, `image`, `cpu_kind`, `cpu_count`, `memory_mb`, `machine`), `drift`, `cost_now_usd`, `cost_after_usd`, "
        "`afterwards`, `detail` and `outcome` (`shown`, `adopted`, `closed`, `decided`, `cannot`, `failed`).",
    ),
    "status": _shape(
        "object",
        "fleet_summary health_summary failures failure_causes recent_events brake releases differ now settings binding "
        "changes_waiting due legacy working sweep alerts drift unhealthy "
        "alerts_open alerts_handled alert_deliveries archive",
        f"With USER: {', '.join(f'`{key}`' for key in [*_USER_STATUS.split(), 'next'])}.",
    ),
    "apps": _shape("object", "apps next", "`next` is the word for `--after`, null on the last page."),
    "app": _shape("object", f"{_USER_STATUS} email cost lives alerts next"),
    "doctor": _shape("object", "checks ok warning wrong", "A check has `name`, `state`, `found` and `remedy`."),
    "explain": _shape("object", "user_id next releases"),
    "events": _shape(
        "list",
        "id fly_app_id user_id event_type status metadata error_details created_at seq email",
        "With `--follow` one object a line.",
    ),
    "logs": _shape("lines", "at level region machine_id message"),
    "checks": _shape("object", "user_id app machine_id state checks", "A check has `name`, `status` and `output`."),
    "exec": _shape("object", "user_id app machine_id exit_code stdout stderr cut"),
    "export apps": _shape(
        "lines",
        "user_id email fly_app_name status desired_state health_status region tier cpu_kind cpu_count memory_mb machine_id "
        "machine_state docker_image monthly_cost_estimate_usd last_health_check retry_count error_code error_message created_at "
        "next_attempt_at override health_detail",
    ),
    "export costs": _shape(
        "lines",
        "user_id fly_app_id machine_id region cpu_kind cpu_count memory_mb started_at ended_at seconds price_usd_per_s cost_usd",
    ),
    "export events": _shape("lines", "seq created_at id user_id fly_app_id event_type status metadata error_details"),
    "cost": _shape("object", "at total month_to_date by_tier by_region by_size margins users projections savings"),
    "orphans": _shape("object", "orphans not_found"),
    "brake": _shape(
        "object", "tripped why destroyed_last_hour most lost_apps waiting_apps host_loss released_at counted_since"
    ),
    "settings": _shape("object", "", "Every setting by name."),
    "settings show": _shape("object", "", "Every setting by name."),
    "settings set": _shape("object", "changed settings unrecorded", _UNRECORDED),
    "alerts": _shape("object", "open alerts"),
    "alerts list": _shape("object", "open alerts", f"An alert has {', '.join(f'`{key}`' for key in _ALERT.split())}."),
    "alerts ack": _shape("object", _ALERT),
    "alerts snooze": _shape("object", _ALERT),
    "alerts wake": _shape("object", _ALERT),
    "credentials": _shape("object", _CREDENTIALS, "Counts of apps, by the tokens of their machines."),
    "credentials renew": _shape("object", _CREDENTIALS),
    "archive run": _shape("object", "bucket events samples closed_rows", "With `--source` that kind of rows only."),
    "archive list": _shape("list", _BATCH),
    "archive show": _shape("object", _BATCH),
    "archive verify": _shape("object", "checked bad findings"),
    "plans list": _shape(
        "list",
        "tier dedicated cpu_kind cpu_count memory_mb region docker_image power public_service grace_s price_usd rank "
        "on_unhealthy env created_at updated_at",
        "`env` has the names only.",
    ),
    "plans set": _shape(
        "object",
        "tier created changed plan env drift apps",
        "`apps` is how many apps have the plan, `drift` how many of them differ from it now. `env` has the names only.",
    ),
    "operators": _shape("list", "user_id email operator added_by added_at"),
    "operators list": _shape("list", "user_id email operator added_by added_at"),
    "operators add": _shape("object", "user_id operator email changed"),
    "operators remove": _shape("object", "user_id operator email changed"),
    "sweep": _shape("object", "", "The report of the sweep: see [architecture.md](architecture.md)."),
    "retry": _shape(
        "object",
        "http_status user_id status app_name machine_id generation monthly_cost_estimate_usd detail code",
        "With `--cause`: `cause`, `due` (how many), `drained` (whether a drain ran), `not_retried` (each with `user_id` and "
        "`reason`).",
    ),
    "restart": _shape("object", "user_id restarted outcome detail code status app_name next_attempt_at", _OUTCOME),
    "grant": _shape("object", _DECISION, _OUTCOME),
    "deny": _shape("object", _DECISION, _OUTCOME),
    "remove-override": _shape("object", _DECISION, f"{_OUTCOME} It is `unchanged` if there is no override."),
    "pause": _shape("object", "paused changed unrecorded", _UNRECORDED),
    "resume": _shape("object", "paused changed unrecorded"),
    "release create": _shape("object", "", _RELEASE),
    "release start": _shape("object", "", _RELEASE),
    "release pause": _shape("object", "", _RELEASE),
    "release resume": _shape("object", "", _RELEASE),
    "release abort": _shape("object", "", _RELEASE),
    "release rollback": _shape("object", "", _RELEASE),
    "release status": _shape("object", "", _RELEASE),
    "release list": _shape("object", "releases differ"),
    "user pin": _shape("object", "pin changed updates_machine", _PIN),
    "user unpin": _shape("object", "pin changed updates_machine", f"{_PIN} Without a pin only `pin` and `changed`."),
    "user hold-back": _shape("object", "pin changed updates_machine", _PIN),
    "user env": _shape("object", "pin changed updates_machine", "`env list`: `env`, the names without their values."),
    "user revoke": _shape("object", "revoked_at updates_machine"),
    "user secret": _shape("object", "secrets updates_machine", "`secret list`: `secrets`, without their values."),
    "user erase": _shape(
        "object",
        "user_id email searched applied pseudonym changes remains refusals money archived_rows archived elsewhere recorded",
        "`changes`: rows by `table` and `what` (`deleted` or `pseudonymised`). `remains`: `table`, `column`, `rows` and `why` of "
        "what still names the person. `refusals`: what must happen first. `elsewhere`: the other buckets and prefixes of the "
        "archive, with `bucket`, `prefix` and `rows`.",
    ),
    "user export": _shape(
        "object",
        "user_id email apps cost_intervals override loss pin given_by_release secrets revocation releases orphans alerts "
        "operator original_apps archived_events events mentions archived elsewhere",
        "`mentions`: events of others that name the user. `elsewhere`: with `--archive`, the other buckets and prefixes of the "
        "archive.",
    ),
    "user show": _shape("object", "user_id pin secrets revocation release app"),
    "deploy fly": _shape("object", "target steps", _PLAN),
    "deploy cloud-run": _shape("object", "target steps", _PLAN),
    "deploy compose": _shape("object", "target steps", _PLAN),
    "install": _shape(
        "object",
        "database already recognised applied notes binding plans proposal original dry_run next",
        "`original`: with `--dry-run`, what happens to tables of the original system. "
        "With `--into`: `folder`, `already`, `written`, `dry_run`.",
    ),
    "uninstall": _shape("object", "database removed refused notes belongings"),
    "migrate-users": _shape(
        "object",
        "installation applied live users total",
        "With `--apply`: `installation`, `started_at`, `ended_at`, `applied`, `ending`, `reason`, `totals`, `users`, `live`.",
    ),
}
