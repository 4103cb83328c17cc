"""`hangar restart`: one user's machine, with the same guards as the dashboard's button."""

import sys

import click

from ops.cli_support import echo, json_option, open_installation, print_json, report_errors, stop
from ops.connection import TargetError
from ops.exit_codes import EXIT_REFUSED
from ops.function_calls import carry_out
from shared.domain.models import Json


@click.command()
@click.argument("user")
@json_option
@report_errors
def restart(user: str, as_json: bool) -> None:
    """Restart the machine of USER (uuid, e-mail or app name). The program is interrupted for a few seconds.

    It is refused, before anything is done, while Hangar is paused or when no machine runs. A restart that was requested less
    than a minute ago is not repeated.
    """
    installation = open_installation()
    user_id, status = installation.find_known_user(user)
    if not installation.target.functions.get("health") or not installation.target.webhook_secret:
        raise TargetError("a restart needs HANGAR_FUNCTIONS_URL and HANGAR_WEBHOOK_SECRET: no drain repeats it")
    if installation.database.read_overview().is_paused:
        stop(EXIT_REFUSED, f"Hangar is paused, so {user} was not restarted; run `hangar resume` first")
    if refusal := _explain_refusal(status.row):
        stop(EXIT_REFUSED, f"{user} was not restarted: {refusal}")
    report = carry_out(installation, "health", user_id, restart=True)
    if report.outcome == "recorded":  # there was no answer, and nothing repeats a restart
        stop(
            1,
            f"{user}: no answer, so it is not known whether the machine was restarted. `hangar status {user}` shows it",
        )
    if as_json:
        print_json({"user_id": str(user_id), "restarted": report.answer.get("restarted") is True, **report.as_json()})
    elif report.exit_code:
        stop(report.exit_code, f"{user}: {report.detail}")
    else:
        echo(f"{user}: {report.detail}")
    sys.exit(report.exit_code)


def _explain_refusal(row: Json | None) -> str | None:
    if row is None:
        return "there is no app"
    app = row["fly_app_name"]
    if row["desired_state"] != "present":
        return f"its app {app} is being removed"
    if row["machine_state"] != "started":
        return (
            f"only a running machine can be restarted, and that of {app} is {row['machine_state'] or 'not known yet'}"
        )
    return None
