"""`hangar deploy`: the functions on Fly, on Cloud Run or on one host, as a plan that is printed and then run."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from ops.cli_support import get_actor, json_option, print_json, report_errors, stop
from ops.deploy import cloud_run, cloud_run_parts, compose, fly
from ops.deploy.cloud_run_state import read_cloud_run, read_project_number
from ops.deploy.compose_state import check_compose, read_compose
from ops.deploy.database import DatabaseStepError, add_plans, write_schedule, write_settings, write_vault
from ops.deploy.fly_state import read_fly
from ops.deploy.image_source import ImageSource, find_source
from ops.deploy.inputs import Inputs, check_image, load_inputs
from ops.deploy.runner import Actions, StepResult, probe, run_plan
from ops.deploy.settings import SettingsError
from ops.deploy.steps import Plan, describe, format_plan
from ops.deploy.tools import CommandError, ToolMissingError
from ops.exit_codes import EXIT_SOME_FAILED, EXIT_USAGE
from ops.project_files import ProjectFileError, add_to_env_file, hold_folder

dry_run_option = click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
image_option = click.option("--image", help="Deploy this image of the functions instead of building one.")


@click.group()
def deploy() -> None:
    """Deploy the functions: print the exact plan, then run it. If a step fails, run the command again: it skips what is done."""


@deploy.command("fly")
@click.option("--org", help="The Fly organisation of the functions. It should not be that of the users' apps.")
@click.option("--name", help="The names of the four apps begin with it. They must be unique on all of Fly.")
@click.option("--region", help="Where the functions run, like sin. Choose one near the database.")
@image_option
@dry_run_option
@json_option
@report_errors
def deploy_fly(
    org: str | None, name: str | None, region: str | None, image: str | None, dry_run: bool, as_json: bool
) -> None:
    """Deploy each function as an app on Fly."""
    with _stop_on_problems(dry_run=dry_run):
        inputs = load_inputs(os.environ, dry_run=dry_run)
        keys = ("deploy", "fly")
        options = fly.FlyOptions(
            tool="fly",
            org=inputs.require(org, "--org", *keys, "organization"),
            name=_check_name(inputs.require(name, "--name", *keys, "name"), "--name"),
            region=_check_region(inputs.require(region, "--region", *keys, "region")),
            image=_choose_image(inputs, image, *keys),
        )
        source = _find_source("the configuration of the apps on Fly")
        settings = inputs.complete(fly.find_urls(options), fly.name_apps(options))
        configs = {f: Path(file).read_text(encoding="utf-8") for f, file in fly.list_config_files(source).items()}
        state, notes = fly.FlyState(), inputs.notes
        try:
            tool = inputs.tools.find("flyctl", "fly", "flyctl")
            options = fly.FlyOptions(tool, options.org, options.name, options.region, options.image)
            state = read_fly(inputs.tools, options)
        except (ToolMissingError, CommandError) as error:
            notes = _note_or_raise(error, notes, dry_run=dry_run)
        plan = fly.plan_fly(options, source, configs, settings, inputs.wanted, inputs.state, state)
        _finish(inputs, plan, notes, dry_run=dry_run, as_json=as_json)


@deploy.command("cloud-run")
@click.option("--project", help="The Google Cloud project.")
@click.option("--region", help="A region of Cloud Run and Cloud Scheduler, like asia-southeast1.")
@click.option("--name", help="The names of services, secrets and accounts begin with it.  [default: hangar]")
@image_option
@dry_run_option
@json_option
@report_errors
def deploy_cloud_run(
    project: str | None, region: str | None, name: str | None, image: str | None, dry_run: bool, as_json: bool
) -> None:
    """Deploy each function as a service of Google Cloud Run."""
    with _stop_on_problems(dry_run=dry_run):
        inputs = load_inputs(os.environ, dry_run=dry_run)
        keys = ("deploy", "cloud-run")
        options = cloud_run_parts.CloudRunOptions(
            project=_check_name(inputs.require(project, "--project", *keys, "project"), "--project"),
            region=_check_name(inputs.require(region, "--region", *keys, "region"), "--region"),
            name=_check_name(inputs.choose(name, *keys, "name") or "hangar", "--name", longest=18),
            image=_choose_image(inputs, image, *keys),
        )
        source = _require_source(options.image)
        if cloud_run.STATIC not in inputs.found:
            raise SettingsError(
                f"{cloud_run.STATIC} is missing: Cloud Scheduler calls with it. `hangar init` makes one, or set it"
            )
        state, notes = cloud_run_parts.CloudRunState(), inputs.notes
        secrets = inputs.complete(cloud_run_parts.find_urls(options, state), {}).secret
        try:
            inputs.tools.find("gcloud")
            number = read_project_number(inputs.tools, options)
            state = read_cloud_run(inputs.tools, options, number, source, secrets)
        except (ToolMissingError, CommandError) as error:
            notes = _note_or_raise(error, notes, dry_run=dry_run)
        settings = inputs.complete(cloud_run_parts.find_urls(options, state), cloud_run_parts.name_services(options))
        plan = cloud_run.plan_cloud_run(options, source, settings, inputs.wanted, inputs.state, state)
        _finish(inputs, plan, notes, dry_run=dry_run, as_json=as_json)


@deploy.command("compose")
@click.option("--host", help="The public name of this host, like hangar.example.com.")
@click.option("--name", help="The name of the project in Docker.  [default: hangar]")
@image_option
@dry_run_option
@json_option
@report_errors
def deploy_compose(host: str | None, name: str | None, image: str | None, dry_run: bool, as_json: bool) -> None:
    """Deploy all functions on this host with Docker Compose."""
    with _stop_on_problems(dry_run=dry_run):
        inputs = load_inputs(os.environ, dry_run=dry_run)
        keys = ("deploy", "compose")
        options = compose.ComposeOptions(
            host=_check_host(inputs.require(host, "--host", *keys, "host")),
            name=_check_name(inputs.choose(name, *keys, "name") or "hangar", "--name"),
            image=_choose_image(inputs, image, *keys),
        )
        source = _find_source("the file of Docker Compose")
        if cloud_run.STATIC not in inputs.found:
            raise SettingsError(
                f"{cloud_run.STATIC} is missing: the schedule calls with it. `hangar init` makes one, or set it"
            )
        settings = inputs.complete(compose.find_urls(options), {})
        files = {
            n: Path(source.path(n)).read_text("utf-8")
            for n in ("deploy/compose.yaml", "deploy/Caddyfile", "deploy/schedule.py")
        }
        state, notes = compose.ComposeState(), inputs.notes
        try:
            check_compose(inputs.tools)
            state = read_compose(inputs.tools, options, compose.name_image(options, source))
        except (ToolMissingError, CommandError) as error:
            notes = _note_or_raise(error, notes, dry_run=dry_run)
        plan = compose.plan_compose(options, source, files, settings, inputs.wanted, inputs.state, state)
        _finish(inputs, plan, notes, dry_run=dry_run, as_json=as_json)


@contextmanager
def _stop_on_problems(*, dry_run: bool) -> Iterator[None]:
    """End the command with one line and the right exit code for each problem that is found before the first step."""
    try:
        with nullcontext() if dry_run else hold_folder():
            yield
    except (SettingsError, ProjectFileError, ToolMissingError) as error:
        stop(EXIT_USAGE, str(error))
    except (DatabaseStepError, CommandError) as error:
        stop(EXIT_SOME_FAILED, f"{error}. Nothing was changed")


def _finish(inputs: Inputs, plan: Plan, notes: tuple[str, ...], *, dry_run: bool, as_json: bool) -> None:
    plan = Plan(plan.target, plan.steps, (*notes, *plan.notes))
    if dry_run:
        if as_json:
            print_json(plan.as_json())
        else:
            click.echo("\n".join(format_plan(plan)).strip())
        return
    show: Callable[[str], None] = lambda line: click.echo(inputs.tools.clean(line), err=as_json)  # noqa: E731
    for line in format_plan(plan):
        show(line)
    show("")
    results = run_plan(plan, _make_actions(inputs, show), show)
    if as_json:
        print_json({"target": plan.target, "steps": [_describe_result(each, inputs) for each in results]})
    _end(results, plan, show)
    if not as_json:
        _run_doctor(show)


def _make_actions(inputs: Inputs, show: Callable[[str], None]) -> Actions:
    database_url = inputs.database_url or ""
    return Actions(
        command=lambda command: inputs.tools.run(command, lambda line: show(f"    | {line}")),
        plans=lambda action: add_plans(inputs.installation, action, get_actor),
        settings=lambda action: _drop(write_settings(inputs.installation, action, get_actor)),
        vault=lambda action: write_vault(database_url, action),
        schedule=lambda: write_schedule(database_url),
        env_file=lambda action: add_to_env_file(action.values),
        probe=probe,
    )


def _drop(_: Mapping[str, Any]) -> None:
    return None


def _describe_result(result: StepResult, inputs: Inputs) -> dict[str, Any]:
    document = {**describe(result.step), "outcome": result.outcome}
    return {**document, "detail": inputs.tools.clean(result.detail)} if result.detail else document


def _end(results: list[StepResult], plan: Plan, show: Callable[[str], None]) -> None:
    """Say what is left, with what to do, and exit with 1 if anything is."""
    failed = [each for each in results if each.outcome == "failed"]
    by_hand = [each for each in results if each.outcome == "by_hand"]
    again = f"hangar deploy {plan.target}"
    show("")
    for each in failed:
        number = results.index(each) + 1
        show(f"Step {number} failed: {each.step.purpose}. What to do: {each.step.repair}.")
    for each in by_hand:
        show(f"Step {results.index(each) + 1} is left to you: {each.step.purpose}. {each.step.by_hand}.")
    if failed:
        show(f"Then repeat `{again}`: it skips what is done and continues here.")
    if failed or by_hand:
        raise SystemExit(EXIT_SOME_FAILED)
    changed = sum(each.outcome == "done" and not each.step.name.startswith("check-") for each in results)
    show(f"Deployed. {changed} steps changed something." if changed else "Deployed already. Nothing was changed.")


def _run_doctor(show: Callable[[str], None]) -> None:
    """`hangar doctor` as the last check. What it finds does not undo the deployment, so the exit code stays 0."""
    from ops.commands.doctor import doctor  # noqa: PLC0415  only a deployment that ended well needs it

    show("hangar doctor")
    try:
        doctor.main(args=[], prog_name="hangar doctor", standalone_mode=False)
    except SystemExit:
        show("Something is wrong: each line with `wrong` says what to do. Then run `hangar doctor` again.")


def _note_or_raise(error: Exception, notes: tuple[str, ...], *, dry_run: bool) -> tuple[str, ...]:
    """A dry run shows the whole plan without the tool."""
    if not dry_run:
        raise error
    return (*notes, f"the target could not be read, so every step is shown as not done: {error}")


def _choose_image(inputs: Inputs, given: str | None, *keys: str) -> str | None:
    image = inputs.choose(given, *keys, "image")
    if image:
        check_image(image, "--image")
    return image


def _find_source(what: str) -> ImageSource:
    source = find_source(Path.cwd())
    if source is None:
        raise SettingsError(f"{what} is part of Hangar's source: run this in a checkout of the repository")
    return source


def _require_source(image: str | None) -> ImageSource | None:
    source = find_source(Path.cwd())
    if source is None and image is None:
        raise SettingsError(
            "there is no source to build from: run this in a checkout of the repository, or give --image"
        )
    return source


def _check_name(name: str, option: str, longest: int = 40) -> str:
    if not re.fullmatch(rf"[a-z][a-z0-9-]{{0,{longest - 2}}}[a-z0-9]", name, re.ASCII):
        raise SettingsError(
            f"{option} is {name!r}: expected 2 to {longest} lower-case letters, digits and hyphens, with a letter first"
        )
    return name


def _check_region(region: str) -> str:
    if not re.fullmatch(r"[a-z]{3}", region, re.ASCII):
        raise SettingsError(
            f"--region is {region!r}: expected one region of Fly, like sin (`fly platform regions` lists them)"
        )
    return region


def _check_host(host: str) -> str:
    if not re.fullmatch(r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", host, re.ASCII | re.IGNORECASE):
        raise SettingsError(f"--host is {host!r}: expected a host name like hangar.example.com, without https://")
    return host.lower()
