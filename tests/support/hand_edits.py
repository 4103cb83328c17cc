"""What people do to a machine behind Hangar's back: the edits of a config, and how far a machine is from its row's own."""

import copy
from collections.abc import Callable
from typing import Any

from tests.support.fault_schedule import by_hand

Config = dict[str, Any]


def _scale(config: Config) -> None:
    config["guest"] = {"cpu_kind": "performance", "cpus": 8, "memory_mb": 16384}


def _other_image(config: Config) -> None:
    config["image"] = "registry.fly.io/somebody-elses:v2"


def _pin_another_digest(config: Config) -> None:
    config["image"] = config["image"].partition("@")[0] + "@sha256:" + "d" * 64


def _empty_env(config: Config) -> None:
    config["env"] = {}


def _add_env(config: Config) -> None:
    config["env"] = {**config["env"], "DEBUG": "1"}


def _change_env(config: Config) -> None:
    config["env"] = {**config["env"], "USER_ID": "another-user"}


def _remove_checks(config: Config) -> None:
    config["checks"] = {}


def _slow_checks(config: Config) -> None:
    config["checks"] = {name: {**check, "interval": "1h"} for name, check in config["checks"].items()}


def _open_to_the_internet(config: Config) -> None:
    config["services"] = [{"protocol": "tcp", "internal_port": 8080, "ports": [{"port": 80, "handlers": ["http"]}]}]


def _never_restart(config: Config) -> None:
    config["restart"] = {"policy": "no"}


def _destroy_on_exit(config: Config) -> None:
    config["auto_destroy"] = True


def _kill_quickly(config: Config) -> None:
    config["stop_config"] = {"signal": "SIGKILL", "timeout": "1s"}


def _remove_metadata(config: Config) -> None:
    config["metadata"] = {}


def _forge_metadata(config: Config) -> None:
    config["metadata"] = {**config["metadata"], "hangar_user": "another-user"}


def _scale_behind_true_metadata(config: Config) -> None:
    """The metadata still says what Hangar deployed, but the machine is another one."""
    _scale(config)
    _other_image(config)


EDITS: dict[str, tuple[Callable[[Config], None], set[str]]] = {
    "scaled": (_scale, {"guest"}),
    "other image": (_other_image, {"image"}),
    "other digest": (_pin_another_digest, {"image"}),
    "env emptied": (_empty_env, {"env"}),
    "env added": (_add_env, {"env"}),
    "env changed": (_change_env, {"env"}),
    "checks removed": (_remove_checks, {"checks"}),
    "checks slowed": (_slow_checks, {"checks"}),
    "service added": (_open_to_the_internet, {"services"}),
    "restart policy": (_never_restart, {"restart"}),
    "auto destroy": (_destroy_on_exit, {"restart"}),
    "stop rules": (_kill_quickly, {"stop"}),
    "metadata removed": (_remove_metadata, {"metadata"}),
    "metadata forged": (_forge_metadata, {"metadata"}),
    "scaled behind true metadata": (_scale_behind_true_metadata, {"guest", "image"}),
}


def edit_by_hand(world: Any, machine: Any, edit: Callable[[Config], None]) -> None:
    """Update the machine as somebody with `fly` would: the whole config, changed."""
    assert try_edit_by_hand(world, machine, edit)


def try_edit_by_hand(world: Any, machine: Any, edit: Callable[[Config], None]) -> bool:
    """Like `edit_by_hand`, but false if Fly does not know the machine, because it is new and Fly's reads lag."""
    config = copy.deepcopy(machine.config)
    edit(config)
    with by_hand(world) as fly:
        answer = fly.post(f"/v1/apps/{machine.app.name}/machines/{machine.id}", json={"config": config})
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200


def find_differences(row: Any, machine: Any) -> set[str]:
    """What of image, size, region and user differs from the row, by the checker's own reading of Fly's state.

    An alias such as `eu` in the list allows every region here.
    """
    guest, config = machine.config["guest"], machine.config
    wanted = {"cpu_kind": row["cpu_kind"], "cpus": row["cpu_count"], "memory_mb": row["memory_mb"]}
    found = set()
    if any(guest[name] != value for name, value in wanted.items()):
        found.add("guest")
    if config["image"].partition("@")[0] != row["docker_image"].partition("@")[0]:
        found.add("image")
    words = row["region"].split(",")
    if machine.region not in words and all(len(word) == 3 and word not in ("any", "usa") for word in words):
        found.add("region")
    if config.get("env", {}).get("USER_ID") != str(row["user_id"]):
        found.add("env")
    return found
