"""The promises of a world at rest. Each function checks the world itself and returns the violations as sentences."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from uuid import UUID

from shared.domain.cost import list_price_usd_per_s
from tests.support.hand_edits import find_differences


def find_all(world) -> list[str]:
    """All violations in a world whose faults have stopped and whose last deadline has passed."""
    return [
        str(problem)
        for find in (
            find_unrest,
            find_wrong_rows,
            find_open_intents,
            find_cost_errors,
            find_excess_writes,
            find_open_alerts,
            find_untold_alerts,
            find_untold_drift,
        )
        for problem in find(world)
    ] + world.strange_writes


# What a status says, by the rules of the design: yes (until the end, if one is given), end (until the end only) or no.
_STATUS = {
    **dict.fromkeys(("active", "trialing", "past_due"), "yes"),
    **dict.fromkeys(("cancelled", "canceled"), "end"),
    **dict.fromkeys(("unpaid", "paused", "expired", "incomplete", "incomplete_expired"), "no"),
}


def find_entitled(world) -> set[UUID]:
    """The entitled users by the host's own data: the rules of the design, written again in Python."""
    return {user for user, answer in judge_users(world).items() if answer is True}


def find_unknown(world) -> set[UUID]:
    """The users about whom nothing is certain, so that nothing may be taken from them."""
    return {user for user, answer in judge_users(world).items() if answer is None}


def judge_users(world) -> dict[UUID, bool | None]:
    """Whether each user is entitled, None if nobody can say. A user has what the best of the subscriptions gives."""
    now = datetime.fromtimestamp(world.clock(), UTC)
    plans = dict(world.sql("select tier, dedicated from public.fly_plans"))
    users = {user for (user,) in world.sql("select id from auth.users where deleted_at is null")}
    answers: dict[UUID, bool | None] = {}
    for user, tier, status, ends_at in world.sql(
        "select user_id, tier, status, expires_at from public.user_subscriptions"
    ):
        answer = _judge(plans, tier, (status or "").strip().lower(), ends_at, now) if user in users else False
        known = answers.get(user, False)
        answers[user] = True if True in (answer, known) else None if None in (answer, known) else False
    for user, word, ends_at in world.sql("select user_id, override, ends_at from public.fly_overrides"):
        if ends_at is None or ends_at > now:
            answers[user] = word == "grant"
    return answers


def _judge(plans, tier, status, ends_at, now) -> bool | None:
    if ends_at is not None and ends_at.tzinfo is None:
        ends_at = ends_at.replace(tzinfo=UTC)  # a time without a zone is UTC
    rule, ended = _STATUS.get(status), ends_at is not None and ends_at <= now
    if rule == "no" or plans.get(tier) is False or (rule == "end" and ends_at is None) or (rule and ended):
        return False
    return None if rule is None or tier not in plans else True


def find_unrest(world):
    """Compare Fly with what should exist: one app with one started machine for each entitled user."""
    world.sim.settle()
    rows = world.sql(
        "select user_id, fly_app_name, machine_id, status from public.user_fly_apps where deleted_at is null"
    )
    entitled, wanted = find_entitled(world), {}
    problems = []
    for user, name, machine_id, status in rows:
        wanted[name] = machine_id
        if user not in entitled:
            problems.append(f"{name} of {user} is {status} although its user is not entitled")
        elif status != "active":
            problems.append(f"{name} of {user} is {status}")
    problems += [f"{user} is entitled and has no row" for user in entitled - {row[0] for row in rows}]
    for name, app in world.sim.apps.items():
        machines = {machine.id: machine.state for machine in app.live_machines()}
        if name not in world.strangers and machines != {wanted.pop(name, None): "started"}:
            problems.append(f"app {name} holds {machines}")
    return problems + [f"app {name} is missing" for name in wanted if name not in world.sim.apps]


def find_wrong_rows(world):
    """I8: at rest no row is leased, has an open intent or an error, or is due."""
    return [
        f"{name}: {row}"
        for name, row in world.sql(
            "select fly_app_name, to_jsonb(a) from public.user_fly_apps a where deleted_at is null and (lease_token is not null"
            " or open_intent is not null or error_code is not null or next_attempt_at is not null or desired_state <> 'present'"
            " or generation <> observed_generation or health_status <> 'healthy')"
        )
    ]


def find_open_intents(world):
    """I11: every intent has one outcome. An intent closed as unknown may get a second one, from its worker, frozen until then."""
    outcomes, closed = Counter(), set()
    for intent, by_another in world.sql(
        "select metadata ->> 'intent_id', metadata ? 'closed_by' from public.user_fly_app_events"
        " where event_type = 'action' and status <> 'intent'"
    ):
        if by_another and intent not in closed:
            closed.add(intent)
        else:
            outcomes[intent] += 1
    intents = world.sql(
        "select id::text, metadata ->> 'action', metadata ->> 'app', metadata ->> 'purpose' from public.user_fly_app_events"
        " where event_type = 'action' and status = 'intent'"
    )
    known = {intent[0] for intent in intents}
    problems = [f"intent {intent} has no outcome" for intent in intents if intent[0] not in closed | set(outcomes)]
    problems += [f"intent {intent} has {outcomes[intent[0]]} outcomes" for intent in intents if outcomes[intent[0]] > 1]
    return problems + [f"outcome of no intent: {each}" for each in sorted((closed | set(outcomes)) - known)]


def find_cost_errors(world):
    """I10: the intervals of an app cover exactly the time in which its row was `started`, without gap or overlap."""
    problems, billed = [], defaultdict(list)
    for app, start, end, price in world.sql(
        "select fly_app_id, started_at, ended_at, price_usd_per_s from public.fly_cost_intervals"
        " order by started_at, ended_at nulls last"
    ):
        billed[app].append((start, end))
        problems += [f"{app}: an interval without a price"] if price is None else []
    ran = read_running_spans(world)
    for app in billed.keys() | ran.keys():
        joined = join_spans(billed[app])
        if joined is None:
            problems.append(f"{app}: overlapping cost intervals {billed[app]}")
        elif joined != ran[app]:
            problems.append(f"{app}: billed {joined}, ran {ran[app]}")
    return problems + [f"{name}: billed at {price}, costs {right}" for name, price, right in find_wrong_prices(world)]


def find_wrong_prices(world):
    """An open interval has Fly's price of the machine that exists."""
    today = datetime.fromtimestamp(world.clock(), UTC).date()
    machines = {machine.id: machine for machine in world.sim.machines()}
    for name, machine_id, price in world.sql(
        "select a.fly_app_name, i.machine_id, i.price_usd_per_s from public.fly_cost_intervals i"
        " join public.user_fly_apps a on a.id = i.fly_app_id where i.ended_at is null"
    ):
        if machine := machines.get(machine_id):
            guest = machine.config["guest"]
            right = list_price_usd_per_s(guest["cpu_kind"], guest["cpus"], guest["memory_mb"], machine.region, today)
            if f"{right:.12f}" != f"{price or 0:.12f}":
                yield name, price, right


def join_spans(spans):
    """Join adjoining spans and drop empty ones. None if two spans overlap."""
    joined = []
    for start, end in spans:
        if joined and (joined[-1][1] is None or start < joined[-1][1]):
            return None
        if joined and start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        elif start != end:
            joined.append((start, end))
    return joined


def read_running_spans(world):
    """The spans in which each app's row said that the machine was started."""
    states, ran = defaultdict(list), defaultdict(list)
    for app, at, runs in world.sql("select app, at, runs from public.states order by seq"):
        states[app].append((at, runs))
    for app, seen in states.items():
        spans, since = [], None
        for at, runs in seen:
            if runs and since is None:
                since = at
            elif not runs and since is not None:
                spans.append((since, at))
                since = None
        ran[app] = join_spans(spans + ([(since, None)] if since else []))
    return ran


def find_excess_writes(world):
    """I7: at most 12 writes to Fly for each change of the desired state, and 3 more for each fault."""
    problems = []
    names = world.sql(
        "select a.user_id, array_agg(distinct a.fly_app_name), (select count(*) from public.user_fly_app_events e"
        " where e.user_id = a.user_id and e.event_type = 'desired_changed') from public.user_fly_apps a group by a.user_id"
    )
    for user, apps, changes in names:
        writes, faults = sum(world.writes[app] for app in apps), sum(world.faults[app] for app in apps)
        if writes > 12 * changes + 3 * faults:
            problems.append(f"{user}: {writes} writes for {changes} changes and {faults} faults")
    return problems


def find_open_alerts(world):
    """None is open, but one about drift that is really there: repairs are spread over many sweeps, and end with a person."""
    known = set(read_drift(world))
    # Which regions an alias such as `eu` stands for is not this checker's business, so it takes the product's word for those.
    aliases = world.sql(
        "select 1 from public.user_fly_apps where deleted_at is null and region ~ '(^|,)([a-z]{2}|[a-z]{4}|any|usa)(,|$)'"
    )
    return [
        f"open alert {alert}" for alert in world.open_alerts() - known - ({("drift", "region")} if aliases else set())
    ]


def find_untold_alerts(world):
    """Every alert was told, and its end after it, however often receiver, database and processes failed."""
    if world.receiver is None:
        return []
    told = list(dict.fromkeys(id_ for id_, _ in world.receiver.accepted))
    problems = []
    for id_, kind, key, is_over in world.sql(
        "select a.id, a.kind, a.key, a.resolved_at is not null from hangar.alerts a"
        " where not exists (select 1 from hangar.alert_deliveries n where n.alert_id = a.id and n.dead_at is not null)"
        " and a.opened_at >= (select min(added_at) from hangar.alert_destinations)"
    ):
        expected = [f"alert_{id_.hex}_{event}" for event in ("opened", "resolved")[: 1 + is_over]]
        found = [each for each in told if each in expected]
        if found != expected:
            problems.append(f"of the alert {kind} {key} the receiver was told {found}, not {expected}")
    waiting = world.sql("select count(*) from hangar.alert_deliveries where delivered_at is null and dead_at is null")[
        0
    ][0]
    return problems + ([f"{waiting} messages about alerts wait"] if waiting else [])


def find_untold_drift(world):
    """A machine is what its row asks for, or an alert names the kind of difference. Read from Fly's state, not from the row."""
    told = world.open_alerts()
    return [
        f"{name}: {kind} differs and no alert says so"
        for (_, kind), names in read_drift(world).items()
        if ("drift", kind) not in told
        for name in names
    ]


def read_drift(world):
    """The apps that differ from their rows, by the alert that must name them."""
    found = defaultdict(list)
    rows = world.sql(
        "select to_jsonb(a) from public.user_fly_apps a where deleted_at is null and desired_state = 'present'"
    )
    machines = {machine.id: machine for machine in world.sim.machines()}
    for (row,) in rows:
        if machine := machines.get(row["machine_id"]):
            for kind in find_differences(row, machine):
                found["drift", kind].append(row["fly_app_name"])
    return found
