"""Check the promises from outside: the host's own tables, Fly's own state, the audit log. Each check returns the violations."""

import uuid
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from tests.kill.cloud import KillCloud
from tests.kill.host import STRANGER

_SAME_MOMENT = timedelta(seconds=1)

Problem = tuple[str, uuid.UUID | None]
"""A violation as a sentence, and the user whose app it concerns."""


def find_broken(cloud: KillCloud) -> list[Problem]:
    """Violations of I1, I2, I3, I4, I8, I10 and I11, checked at rest."""
    world = cloud.control("GET", "world")
    rows = cloud.sql(
        "select user_id, fly_app_name, machine_id, status from public.user_fly_apps where deleted_at is null"
    )
    return [
        *_compare(world, rows, find_entitled(cloud)),
        *_find_restless(cloud),
        *_find_open_intents(cloud),
        *_find_unannounced_writes(cloud),
        *_find_wrong_bills(cloud),
    ]


def find_entitled(cloud: KillCloud) -> set[uuid.UUID]:
    """The entitled users by the host's own data: the rules of the design, written again in Python."""
    ((now,),) = cloud.sql("select hangar.now()")
    entitled = set()
    for user, tier, status, expires_at in cloud.sql(
        "select user_id, tier, status, expires_at from public.user_subscriptions"
    ):
        ahead = expires_at is not None and expires_at > now
        if tier != "free" and ((status in ("active", "past_due") and expires_at is None) or ahead):
            entitled.add(user)
    return entitled


def find_undesired(cloud: KillCloud) -> list[str]:
    """I1 and I12: users whose row differs from what their last committed write entitles them to, although no mark says so."""
    entitled = find_entitled(cloud)
    wanted = cloud.sql("select user_id, desired_state from public.user_fly_apps where deleted_at is null")
    marked = {user for (user,) in cloud.sql("select user_id from hangar.marks")}
    problems = [
        f"{user} is{'' if user in entitled else ' not'} entitled, and the row asks for {state}"
        for user, state in wanted
        if (state == "present") != (user in entitled) and user not in marked
    ]
    without = entitled - {user for user, _ in wanted} - marked
    return problems + [f"{user} is entitled and has neither row nor mark" for user in without]


def find_last_deadline_s(cloud: KillCloud) -> float:
    """Seconds until the last open deadline.

    Deadlines are the ends of leases, the times of retries, the age at which an orphan may be removed, and the ten minutes after
    which a sweep closes the intent of a killed orphan removal.
    """
    ((seconds,),) = cloud.sql(
        "select extract(epoch from max(at) - hangar.now())::float8 from ("
        " select lease_expires_at as at from public.user_fly_apps where deleted_at is null"
        " union all select next_attempt_at from public.user_fly_apps where deleted_at is null"
        " union all select create_unknown_at + interval '120 s' from public.user_fly_apps where deleted_at is null"
        " union all select lease_expires_at from hangar.sweeps"
        " union all select first_seen_at + make_interval(secs => (select orphan_after_s from hangar.settings))"
        "   from public.fly_orphans"
        " union all select i.created_at + interval '10 minutes' from public.user_fly_app_events i"
        "   where i.event_type = 'action' and i.status = 'intent' and i.metadata ->> 'purpose' = 'orphan'"
        "   and not exists (select from public.user_fly_app_events o where o.event_type = 'action'"
        "     and o.status <> 'intent' and o.metadata ->> 'intent_id' = i.id::text)) deadlines"
    )
    return max(0.0, float(seconds or 0.0))


def is_moving(cloud: KillCloud) -> list[tuple]:
    """The releases that still move apps, and the apps that still have the second machine of a move."""
    return cloud.sql(
        "select 'release', r.id::text, r.state from hangar.releases r where r.state in ('rolling', 'rolling_back')"
        " or r.state = 'paused' and exists (select from hangar.release_targets t where t.release_id = r.id"
        "   and (t.must_go_back or t.state in ('applying', 'verifying')))"
        " union all select 'app', a.fly_app_name, a.spare_machine_id from public.user_fly_apps a"
        " where a.deleted_at is null and a.desired_state = 'present' and a.spare_machine_id is not null"
    )


def format_story(cloud: KillCloud, user: uuid.UUID) -> str:
    """The newest events of a user's app, oldest first: intents, outcomes and their metadata."""
    events = cloud.sql(
        "select created_at, event_type, status, metadata, error_details from public.user_fly_app_events"
        " where user_id = %s order by seq desc limit 40",
        user,
    )
    lines = [
        f"    {at:%H:%M:%S.%f} {kind} {status} {metadata.get('action', '')} g{metadata.get('generation', '-')}"
        f" {metadata.get('actor', '')} {error or ''}"
        for at, kind, status, metadata, error in reversed(events)
    ]
    return f"  the story of {user}:\n" + "\n".join(lines)


def _compare(world: dict[str, Any], rows: list[tuple], entitled: set[uuid.UUID]) -> list[Problem]:
    """Fly must hold one app with one started machine for each entitled user, the stranger's app, and no other."""
    owners = {name: user for user, name, _, _ in rows}
    wanted = {name: {machine: "started"} for _, name, machine, _ in rows}
    problems: list[Problem] = []
    for user, name, _, status in rows:
        if user not in entitled or status != "active":
            words = "entitled" if user in entitled else "not entitled"
            problems.append((f"{name} is {status} and its user {words}", user))
    problems += [(f"{user} is entitled and has no row", user) for user in entitled - set(owners.values())]
    for app in world["apps"]:
        machines = {machine["id"]: machine["state"] for machine in app["machines"]}
        if app["name"] == STRANGER:
            if list(machines.values()) != ["started"]:
                problems.append((f"the stranger's app holds {machines}", None))
        elif machines != wanted.pop(app["name"], None):
            problems.append((f"Fly's app {app['name']} holds {machines}", owners.get(app["name"])))
    if STRANGER not in {app["name"] for app in world["apps"]}:
        problems.append(("the stranger's app is gone", None))
    return problems + [(f"Fly has no app {name}", owners[name]) for name in wanted]


def _find_restless(cloud: KillCloud) -> list[Problem]:
    """I8: at rest no row is leased, has an open intent or an error, or is due."""
    rows = cloud.sql(
        "select user_id, to_jsonb(a) from public.user_fly_apps a where deleted_at is null and (lease_token is not null"
        " or open_intent is not null or error_code is not null or next_attempt_at is not null"
        " or generation <> observed_generation or health_status is not distinct from 'unhealthy')"
    )
    return [(f"not at rest: {row}", user) for user, row in rows]


def _find_open_intents(cloud: KillCloud) -> list[Problem]:
    """I11: every intent has exactly one outcome, and every outcome belongs to an intent."""
    return [
        (f"intent {intent} ({action}) has {outcomes} outcomes", user)
        for intent, user, action, outcomes in cloud.sql(
            "select coalesce(i.id::text, o.metadata ->> 'intent_id'), coalesce(i.user_id, o.user_id),"
            " coalesce(i.metadata, o.metadata) ->> 'action', count(o.id) filter (where i.id is not null)"
            " from (select * from public.user_fly_app_events where event_type = 'action' and status = 'intent') i"
            " full join (select * from public.user_fly_app_events where event_type = 'action' and status <> 'intent') o"
            " on o.metadata ->> 'intent_id' = i.id::text"
            " group by 1, 2, 3 having count(o.id) filter (where i.id is not null) <> 1"
        )
    ]


def _find_unannounced_writes(cloud: KillCloud) -> list[Problem]:
    """I11, checked against the requests: Fly received no more writes about an app than the log has intents for it."""
    intents = dict(
        cloud.sql(
            "select metadata ->> 'app', count(*) from public.user_fly_app_events"
            " where event_type = 'action' and status = 'intent' and metadata ->> 'action' <> 'create_app' group by 1"
        )
    )
    return [
        (f"{writes} writes reached Fly for {app}, {intents.get(app, 0)} were intended", None)
        for app, writes in Counter(cloud.writes).items()
        if writes > intents.get(app, 0)
    ]


def _find_wrong_bills(cloud: KillCloud) -> list[Problem]:
    """I10: an app's cost intervals cover the time in which its row said `started`, without overlap, and each has a price."""
    billed = _spans_by_app(
        cloud.sql("select fly_app_id, started_at, ended_at from public.fly_cost_intervals order by 2, 3 nulls last")
    )
    ran = _spans_by_app(_find_runs(cloud.sql("select app, at, runs from public.states order by seq")))
    problems: list[Problem] = [
        (f"app {app} is billed for {billed.get(app)}, and ran {ran.get(app)}", None)
        for app in billed.keys() | ran.keys()
        if not _are_alike(billed.get(app, []), ran.get(app, []))
    ]
    unpriced = cloud.sql("select id from public.fly_cost_intervals where price_usd_per_s is null")
    return problems + [(f"cost interval {interval} has no price", None) for (interval,) in unpriced]


def _find_runs(states: list[tuple]) -> list[tuple]:
    runs, since = [], {}
    for app, at, is_running in states:
        if is_running:
            since.setdefault(app, at)
        elif app in since:
            runs.append((app, since.pop(app), at))
    return runs + [(app, at, None) for app, at in since.items()]


def _are_alike(spans: list[tuple], others: list[tuple]) -> bool:
    """Whether the spans match. Two triggers of one statement read the running clock at slightly different times."""
    return len(spans) == len(others) and all(
        (one is None and other is None) or (one and other and abs(one - other) <= _SAME_MOMENT)
        for span, like in zip(spans, others, strict=True)
        for one, other in zip(span, like, strict=True)
    )


def _spans_by_app(spans: list[tuple]) -> dict[uuid.UUID, list[tuple[datetime, datetime | None]]]:
    """Spans by app: adjoining ones joined, empty ones dropped. Overlapping ones stay apart and so differ from what ran."""
    joined: dict[uuid.UUID, list[tuple[datetime, datetime | None]]] = {}
    for app, start, end in spans:
        if start == end:
            continue
        own = joined.setdefault(app, [])
        if own and own[-1][1] == start:
            own[-1] = (own[-1][0], end)
        else:
            own.append((start, end))
    return joined
