"""The arguments and environment of a machine's process."""

from local.fly.runtime.runner import Launch
from local.fly.state.model import Machine


def launch_of(machine: Machine) -> Launch:
    """The values with which a runner starts a machine."""
    config = machine.config
    return Launch(
        machine_id=machine.id,
        app_name=machine.app.name,
        region=machine.region,
        image=str(config.get("image", "")),
        config=config,
        env=environment_of(machine),
    )


def environment_of(machine: Machine) -> dict[str, str]:
    """The environment in the machine: Fly's variables, the image's version, the config's env, the machine's secrets."""
    return {
        "FLY_APP_NAME": machine.app.name,
        "FLY_MACHINE_ID": machine.id,
        "FLY_ALLOC_ID": machine.id,
        "FLY_MACHINE_VERSION": machine.version,
        "FLY_REGION": machine.region,
        "PRIMARY_REGION": machine.region,
        "FLY_IMAGE_REF": str(machine.config.get("image", "")),
        "FLY_PRIVATE_IP": machine.private_ip,
        "FLY_VM_MEMORY_MB": str((machine.config.get("guest") or {}).get("memory_mb", 256)),
        "VERSION": machine.image.version,
        **(machine.config.get("env") or {}),
        **machine.secrets,
    }
