"""Apps that become unhealthy: how a test hurts one, lets sweeps take samples, and reads what Hangar says and does."""

GAP_S = 300
NEEDED = 3
_MACHINE = "/v1/apps/{app}/machines/{machine}"


def have_healthy_users(world, count=1):
    users = [world.add_user("pro") for _ in range(count)]
    world.sweep(drain_only=True)
    world.clock.advance(60)
    world.sweep()
    assert {world.row(user)["health_status"] for user in users} == {"healthy"}
    return users


def sweeps(world, count=NEEDED):
    for _ in range(count):
        world.clock.advance(GAP_S)
        world.sweep()


def hurt(world, user, **what):
    world.control("PUT", f"machines/{world.row(user)['machine_id']}", what)


def alerts(world, user):
    """Kind and message of each open alert about this user's app."""
    found = world.sql(
        "select kind, message from hangar.alerts where resolved_at is null and key = %s order by kind",
        world.row(user)["id"],
    )
    return dict(found)


def symptom(world, user):
    [(told,)] = world.sql("select public.fly_user_status(%s) -> 'symptom'", user)
    return told


def read_fault(world, user, **answer):
    row = world.row(user)
    world.fault(
        method="GET",
        path=_MACHINE.format(app=row["fly_app_name"], machine=row["machine_id"]),
        when="before",
        **answer,
    )


CRITICAL = {"checks": {"alive": {"status": "critical", "output": "500 database is locked"}}}


def machines_of(world, user):
    return [machine.id for machine in world.apps()[world.row(user)["fly_app_name"]]]


def steps(world, user):
    """The restarts and replacements that Hangar has begun for this user because the app was unhealthy."""
    return [
        data["action"]
        for kind, status, data in world.events(user)
        if kind == "action" and status == "intent" and data.get("purpose") == "unhealthy"
    ]
