"""Several releases after each other on one fleet of two tiers, and what is left of them."""

from tests.support.releases import change, finish, start_release

OLD, NEXT = "registry.fly.io/vyx-app:v1", "registry.fly.io/vyx-app:v3"
FAST = {"soak_s": 10, "moving_share": 1}


def have_two_tiers(world):
    """Six healthy users of two tiers, who run `OLD` with 2 vCPU and 1024 MB."""
    world.sql("update hangar.settings set default_image = %s", OLD)
    world.sql("update public.fly_plans set cpu_kind = 'shared', cpu_count = 2, memory_mb = 1024")
    world.add_users(["pro", "elite"] * 3)
    world.settle()
    return world


def first_users(world, number=3):
    return [str(user) for (user,) in world.sql("select user_id from public.user_fly_apps order by 1 limit %s", number)]


def release(world, **spec):
    number = start_release(world, **FAST, **spec)
    assert finish(world, number)["state"] == "completed"
    return number


def roll_back(world, number):
    change(world, number, "rollback")
    found = finish(world, number)
    assert found["state"] == "rolled_back"
    return found


def read_machines(world):
    """Image without digest, memory and the variable MODE of each machine."""
    machines = [machine.config for machines in world.apps().values() for machine in machines]
    return {(each["image"].partition("@")[0], each["guest"]["memory_mb"], each["env"].get("MODE")) for each in machines}


def read_given(world):
    return world.sql("select image, memory_mb, env from hangar.user_specs")


def read_plans(world):
    """What plans and settings say: the default image without digest, and memory and variables of the plans."""
    ((image,),) = world.sql("select default_image from hangar.settings")
    plans = world.sql("select distinct docker_image, memory_mb, env::text from public.fly_plans where dedicated")
    return image.partition("@")[0], plans
