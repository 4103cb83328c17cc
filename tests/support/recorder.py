"""Records what happens in a simulated world, and checks the promises that must hold at every step.

Every write to Fly has an intent (I11), nothing is taken from an entitled user (I5), and an expired lease changes no row (I6).
tests.support.promises has the checks of a world at rest.
"""

import uuid
from collections.abc import Callable
from typing import Any

import httpx

from shared.domain.errors import HangarError
from tests.support.fly_link import find_app
from tests.support.promises import judge_users
from tests.support.trace import SHOWN_PROCEDURES, Trace, show_answer, show_row, show_save
from tests.support.turns import Process


class Recorder:
    """The trace of one world, its counts, and the violations found so far."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.trace, self.violations = Trace(), []
        self.steps = self.kills = self.faults_met = 0
        self._app_names: dict[str, str] = {}
        # For each app, the process with the last intent, and the intent; None if it was refused.
        self._intents: dict[str, tuple[Process | None, dict | None]] = {}

    def note(self, what: str, who: str | None = None) -> None:
        """Add a line to the trace."""
        if who is None:
            process = self.world.turns.process
            who = process.name if process else "world"
        self.trace.lines.append((self.world.clock(), who, what))

    def add_violation(self, what: str) -> None:
        """Record something that must never happen."""
        self.note(f"VIOLATION: {what}")
        self.violations.append(what)

    def count_fault(self, app: str | None) -> None:
        self.faults_met += 1
        if app:
            self.world.faults[app] += 1

    def count_fate(self, process: Process, fate: str) -> None:
        """Record that a process dies or freezes."""
        self.kills += 1
        self.note(f"! {fate}", process.name)
        self.count_fault(process.working_on)

    # Layers

    def note_failures(self, pass_on: Callable, name: str, args: dict[str, Any]) -> Any:
        """Database layer: note a call that fails."""
        try:
            return pass_on(name, args)
        except HangarError as error:
            self.note(f"{name} FAILED: {error}"[:200])
            self.count_fault(self._app_names.get(str(args.get("p_id"))))
            raise

    def watch_procedure(self, pass_on: Callable, name: str, args: dict[str, Any]) -> Any:
        """Database layer: note what a procedure did, and check every save."""
        process = self.world.turns.process
        self.steps += 1
        if name == "fly_save":
            return self._save(pass_on, args, process)
        answer = pass_on(name, args)
        if name == "fly_claim":
            self._learn_name(answer["row"])
            self.note(f"fly_claim {args['p_user']}: {answer['outcome']}{show_row(answer['row'])}")
        elif name == "fly_claim_due":
            for claimed in answer["claimed"]:
                self._learn_name(claimed["row"])
                self.note(f"fly_claim_due:{show_row(claimed['row'])}")
        elif name == "fly_judge_orphan":
            self.note(f"{name} {args['p_app']}: {answer}")
            if answer["verdict"] == "remove":
                self._intents[args["p_app"]] = (process, args["p_intent"]["metadata"])
        elif name == "fly_record_sweep":
            observations = [
                f"{each['id']} {each['machine_state']} {each['health']}{' due' if each['due'] else ''}"
                for each in args["p_observations"]
            ]
            self.note(f"{name}: {', '.join(observations)} -> {answer['updated']} updated")
        elif name in SHOWN_PROCEDURES:
            self.note(f"{name}: {show_answer(answer)}")
        return answer

    def note_request(self, pass_on: Callable, request: Any) -> Any:
        """Fly layer: note each request and its response."""
        self.steps += 1
        what = str(request)
        try:
            response = pass_on(request)
        except httpx.HTTPError as error:
            self.faults_met += 1
            self.note(f"{what} -> no answer ({type(error).__name__})")
            raise
        if response.status_code >= 400:
            self.faults_met += response.status_code != 404
            self.note(f"{what} -> {response.status_code} {response.text[:90]}")
        else:
            self.note(f"{what} -> {response.status_code}")
        return response

    def watch_write(self, pass_on: Callable, request: Any) -> Any:
        """Fly layer: check each write when Fly receives it."""
        if request.method != "GET":
            self._check_write(request)
        return pass_on(request)

    # Checks

    def _check_write(self, request: Any) -> None:
        """I11: this same process has an intent. I5: the running machine of an entitled user is not destroyed to repair it."""
        world, process, app = self.world, self.world.turns.process, find_app(request)
        announced, intent = self._intents.get(app, (None, None))
        has_slept = process is not None and process.slept
        if intent is None or announced is not process:
            if not has_slept:
                self.add_violation(f"I11: {request.method} {request.url.path} without an intent, or with a refused one")
        elif request.method == "DELETE" and intent["purpose"] == "orphan":
            if world.sql("select 1 from public.user_fly_apps where fly_app_name = %s and deleted_at is null", app):
                self.add_violation(f"I5: {app} is removed as an orphan and has a live row")
        elif request.method == "DELETE" and intent["purpose"] in ("replace", "repair", "move") and not has_slept:
            machine = world.sim.world.machines.get(request.url.path.rsplit("/", 1)[-1])
            if machine is not None and machine.state == "started":
                self.add_violation(f"I5: the running machine of {app} is destroyed to {intent['purpose']} it")

    def _save(self, pass_on: Callable, args: dict[str, Any], process: Process | None) -> Any:
        before = self._read_lease(args) if process is not None and process.slept else None
        answer = pass_on("fly_save", args)
        if before is not None and before != self._read_lease(args):
            self.add_violation(f"I6: {process.name} changed the row {args['p_id']} with a lease that had ended")
        intent = next((each for each in args["p_events"] if each["status"] == "intent"), None)
        outcomes = [each for each in args["p_events"] if each["event_type"] == "action" and each is not intent]
        self.note(show_save(self._app_names.get(args["p_id"]), args, intent, outcomes, answer))
        if answer is not None:
            self._learn_name(answer["row"])
            if intent is not None and answer["refused"] is None:
                self._check_intent(answer["row"], intent["metadata"], process)
            elif intent is not None:
                self._intents[answer["row"]["fly_app_name"]] = (process, None)
        return answer

    def _check_intent(self, row: dict, intent: dict, process: Process | None) -> None:
        """I5: no intent takes anything from a user who is entitled at that moment, or of whom nobody can say."""
        self._intents[row["fly_app_name"]] = (process, intent)
        if (
            intent["purpose"] == "deprovision"
            and judge_users(self.world).get(uuid.UUID(row["user_id"]), False) is not False
        ):
            self.add_violation(f"I5: {intent['action']} intended for {row['user_id']}, who is entitled, or may be")

    def _learn_name(self, row: dict | None) -> None:
        if row:
            self._app_names[row["id"]] = row["fly_app_name"]

    def _read_lease(self, args: dict[str, Any]) -> dict | None:
        """The whole row if this lease token does not allow a change to it, else None."""
        found = self.world.sql(
            "select to_jsonb(a) from public.user_fly_apps a where id = %s and (lease_token is distinct from %s"
            " or lease_expires_at <= hangar.now())",
            args["p_id"],
            args["p_lease_token"],
        )
        return found[0][0] if found else None
