"""Moves releases on: the database decides, this module looks at the machines and reports what it has found."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from shared.domain.drift import digest_env
from shared.domain.errors import HangarError, NotFound, Throttled
from shared.domain.models import OperatorRequest
from shared.domain.release_look import CheckResult, Expected, Look, SeenMachine, judge_look
from shared.fleet.signing_keys import record_signing_keys
from shared.reconcile.restart import restart
from shared.reconcile.symptom_finder import backend_checks, describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.adapters.procedures_releases import ReleaseLook
    from shared.domain.models import Json
    from shared.fly.models import FlyMachine
    from shared.reconcile.worker import Worker

LOOKS_AT_ONCE = 50
LOOKERS = 16
LOOK_BUDGET_S = 10.0
RESTART_BUDGET_S = 40.0
# A call that only records looks may let the next app move at once; more steps belong to the next drain.
MOST_STEPS = 4


def advance_releases(worker: "Worker", ends_at: float) -> int:
    """Move every release on until nothing more happens now, or `ends_at` on the worker's clock. Returns how many apps moved."""
    moved, asked = 0, False
    for _ in range(MOST_STEPS):
        step, stepped_at = worker.database.advance_releases(LOOKS_AT_ONCE), worker.clock()
        moved += step.moved
        if not step.looks or worker.clock() >= ends_at:
            break
        with ThreadPoolExecutor(min(LOOKERS, len(step.looks)), thread_name_prefix="release") as pool:
            time = partial(_time_after, worker, step.now, stepped_at)
            found = [pool.submit(copy_context().run, _look, worker, look, time, ends_at) for look in step.looks]
        looks = [each.result() for each in found]
        if not asked and worker.clock() < ends_at and any(each["verdict"] in ("bad", "dead") for each in looks):
            # Perhaps the project refuses the program's token since the last sweep. Then the image is not to blame.
            record_signing_keys(worker)
            asked = True
        worker.database.record_release_looks(looks)
    return moved


def _time_after(worker: "Worker", now: "datetime", since: float) -> "datetime":
    """The database's time: `now` was its answer at `since` on the worker's clock."""
    return now + timedelta(seconds=worker.clock() - since)


def _look(worker: "Worker", look: "ReleaseLook", time: "Callable[[], datetime]", ends_at: float) -> "Json":
    """Read one machine directly and judge it; `time` is the database's. A failure to read proves nothing about the release."""
    machine: FlyMachine | None = None
    read_at = time()
    try:
        machine = worker.fly.get_machine(look.app, look.machine_id, budget_s=LOOK_BUDGET_S)
        judged = judge_look(_expect(look), _see(machine, worker.fly.lead_over(time())))
        if (judged.verdict, look.proof) in (("good", "restart"), ("asleep", "start"), ("asleep", "restart")):
            judged = _start_again(worker, look, ends_at)
    except NotFound:
        judged = Look("unknown", "gone", "Fly does not find the machine")  # no image removes a machine
    except Throttled as held:
        judged = Look("unknown", "rate_limited", str(held))
    except HangarError as error:
        judged = Look("unknown", "unreadable", str(error))
    return {
        "release": look.release,
        "row_id": str(look.row_id),
        "since": look.since_text,
        "read_at": read_at.isoformat(),
        **asdict(judged),
        "digest": machine.image_digest if machine else "",
        "instance": machine.version if machine else "",
    }


def _start_again(worker: "Worker", look: "ReleaseLook", ends_at: float) -> Look:
    """Restart a canary that is well, or start one that sleeps, as Fly does at the next request."""
    budget_s = min(RESTART_BUDGET_S, ends_at - worker.clock())
    result = restart(worker, look.user_id, budget_s, OperatorRequest(f"release:{look.release}"), wakes=True)
    if result.restarted:
        return Look("restarted")
    return Look("unknown", "not_restarted", result.restart_detail or result.detail)


def _expect(look: "ReleaseLook") -> Expected:
    return Expected(
        user_id=str(look.user_id),
        image=look.image,
        version=look.version,
        since=look.since,
        good_since=look.good_since,
        on_demand=look.on_demand,
        known_digest=look.known_digest,
        size=look.size,
        env_digest=look.env_digest,
    )


def _see(machine: "FlyMachine", lead: "timedelta | None") -> SeenMachine:
    ended = machine.last_exit if machine.last_exit and not machine.last_exit.requested else None
    at = ended.at if ended else None
    return SeenMachine(
        state=machine.state,
        image=machine.image,
        image_digest=machine.image_digest,
        instance=machine.version,
        host_ok=machine.host_status == "ok" and not machine.incomplete,
        checks=tuple(CheckResult(each.name, each.status, each.output) for each in backend_checks(machine)),
        configured_checks=machine.configured_checks,
        exited_at=at - lead if at is not None and lead is not None else at,
        exit_text=describe_exit(ended) if ended else "",
        exit_failed=bool(ended and (ended.code or ended.signal or ended.oom_killed or ended.error)),
        out_of_memory=ended.oom_killed if ended else False,
        size=(machine.cpu_kind, machine.cpus, machine.memory_mb) if machine.cpus and machine.memory_mb else None,
        env_digest=digest_env(machine.config.get("env") or {}),
    )
