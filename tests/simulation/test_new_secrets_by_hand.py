"""docs/deploy.md, "Rotating secrets": how an operator gives one user's machine new secrets."""

import re
from pathlib import Path

from local.fly.transport import open_client

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "deploy.md").read_text()
USER_OF_THE_PAGE = "11111111-1111-4111-8111-111111111111"


def test_forgetting_the_secrets_and_destroying_the_machine_makes_a_new_one_with_new_secrets(world):
    user = world.add_user("pro")
    world.reconciler.reconcile(user, 240)
    before = world.row(user)
    (statement,) = re.findall(r"^update public\.user_fly_apps set secrets_version = null\n.*;$", PAGE, re.MULTILINE)
    world.sql(statement.replace(USER_OF_THE_PAGE, str(user)))
    machines = f"/v1/apps/{before['fly_app_name']}/machines/{before['machine_id']}"
    with open_client(world.sim, sleep=world.clock.advance) as fly:
        assert (
            fly.delete(machines, params={"force": "true"}, headers={"Authorization": "Bearer any"}).status_code == 200
        )
    world.sim.settle()
    world.settle()
    after = world.row(user)
    assert (after["status"], after["fly_app_name"]) == ("active", before["fly_app_name"])
    assert after["machine_id"] != before["machine_id"]
    assert after["secrets_version"] > before["secrets_version"]
    ((machine,),) = world.apps().values()
    assert (machine.id, machine.state) == (after["machine_id"], "started")
