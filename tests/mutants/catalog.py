"""All planted bugs, by area: the modules named here hold the lists."""

from tests.mutants import (
    alerts,
    bad_days,
    command_line,
    credentials,
    doctor,
    domain,
    drift,
    fleet,
    fly,
    health,
    host_sql,
    images,
    loop,
    operations,
    operator_sql,
    pages,
    releases,
    rights,
    save_sql,
    sweep_sql,
)
from tests.mutants.planted import PlantedBug

AREAS: dict[str, tuple[PlantedBug, ...]] = {
    "domain": domain.BUGS,
    "drift": drift.BUGS,
    "fly": fly.BUGS,
    "Fly's bad days": bad_days.BUGS,
    "reconcile": loop.BUGS,
    "fleet": fleet.BUGS,
    "http, adapters, logs": rights.BUGS,
    "credentials": credentials.BUGS,
    "SQL: entitlement and the host": host_sql.BUGS,
    "SQL: leases, intents, limits, money": save_sql.BUGS,
    "SQL: sweep, orphans, alerts": sweep_sql.BUGS,
    "SQL: what an operator sets, and limits": operator_sql.BUGS,
    "unhealthy apps": health.BUGS,
    "images": images.BUGS,
    "releases": releases.BUGS,
    "alerts": alerts.BUGS,
    "functions": pages.BUGS,
    "ops": operations.BUGS,
    "command line": command_line.BUGS,
    "doctor": doctor.BUGS,
}
BUGS = tuple(bug for bugs in AREAS.values() for bug in bugs)
