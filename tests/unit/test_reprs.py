"""I9: what a log, a traceback or a debugger shows of an object that holds a secret.

Found from the code: every dataclass of the product and of the local cloud, by the names of its fields.
"""

import dataclasses
import importlib
import pkgutil
import re

SECRET_NAME = re.compile(
    r"secret|token|password|pem|credential|authorization|api_key|webhook_url|\bkey\b|addresses", re.IGNORECASE
)
# A name that sounds like a secret and is none: what it is.
HARMLESS = {
    "shared.reconcile.worker.MachineInputs.secrets": "a function that makes them",
    "local.backend.settings.Settings.token_user_id": "whose token it is",
    "local.fly.state.model.App.addresses": "IP addresses",
    "local.fly.state.model.App.key": "an idempotency key",
    "local.fly.state.model.App.secrets_version": "a number",
    "local.fly.state.rate._Bucket.tokens": "of a token bucket",
}


def modules():
    """Every module of these packages. Those of functions read their settings when they are imported and have no dataclass."""
    for package in ("shared", "ops", "local"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield importlib.import_module(module.name)


def dataclass_fields():
    for module in modules():
        for cls in vars(module).values():
            if isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__:
                for field in dataclasses.fields(cls):
                    yield cls, field


def test_no_repr_shows_a_secret():
    """A field that sounds like a secret is a `Secret`, is left out of the repr, or is named above."""
    seen, shown = 0, {}
    for cls, field in dataclass_fields():
        if not SECRET_NAME.search(field.name):
            continue
        seen += 1
        is_generated = hasattr(cls.__repr__, "__wrapped__")
        if field.repr and is_generated and "Secret" not in str(field.type):
            shown[f"{cls.__module__}.{cls.__qualname__}.{field.name}"] = str(field.type)
    assert seen > 15
    assert shown.keys() == HARMLESS.keys(), shown
