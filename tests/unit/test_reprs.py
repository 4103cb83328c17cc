"""Invariant I9: the repr of an object never shows a secret, in a log, a traceback or a debugger.

The test looks at every dataclass and pydantic model of the product and of the local cloud, by the names of the fields.
"""

import dataclasses
import importlib
import pkgutil
import re

from pydantic import BaseModel

SECRET_NAME = re.compile(
    r"secret|token|password|pem|credential|authorization|api_key|webhook_url|\bkey\b|addresses", re.IGNORECASE
)
# Names that look like a secret but are not one, and what they hold.
HARMLESS = {
    "shared.domain.models.Row.lease_token": "the id of a lease, which opens nothing",
    "shared.domain.models.Row.secrets_version": "a number",
    "shared.domain.models.Row.token_issued_at": "a time",
    "shared.domain.models.Row.token_expires_at": "a time",
    "shared.domain.models.Row.token_wanted_at": "a time",
    "shared.domain.models.Row.own_secrets": "names",
    "shared.domain.models.Row.addresses": "IP addresses",
    "shared.domain.observation.Observation.addresses": "IP addresses",
    "shared.reconcile.observer.AppObserver._addresses": "IP addresses",
    "shared.reconcile.worker.MachineInputs.secrets": "a function that makes them",
    "local.fly.state.model.App.addresses": "IP addresses",
    "local.fly.state.model.App.key": "an idempotency key",
    "local.fly.state.model.App.secrets_version": "a number",
    "local.fly.state.rate._Bucket.tokens": "of a token bucket",
}


def modules():
    """Every module of these packages. The modules of `functions` read settings at import and hold no secrets of their own."""
    for package in ("shared", "ops", "local"):
        found = importlib.import_module(package)
        for module in pkgutil.walk_packages(found.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                yield importlib.import_module(module.name)


def find_fields(cls):
    """Name, type and visibility in the repr of every field of a dataclass or a pydantic model."""
    if dataclasses.is_dataclass(cls):
        is_generated = hasattr(cls.__repr__, "__wrapped__")
        return [(field.name, str(field.type), field.repr and is_generated) for field in dataclasses.fields(cls)]
    if issubclass(cls, BaseModel):
        return [(name, str(field.annotation), field.repr) for name, field in cls.model_fields.items()]
    return []


def test_no_repr_shows_a_secret():
    """A field whose name looks like a secret is a `SecretStr`, is not in the repr, or is listed above."""
    seen, shown = 0, {}
    for module in modules():
        own = [cls for cls in vars(module).values() if isinstance(cls, type) and cls.__module__ == module.__name__]
        for place, (name, kind, is_shown) in ((cls, field) for cls in own for field in find_fields(cls)):
            if SECRET_NAME.search(name):
                seen += 1
                if is_shown and "Secret" not in kind:
                    shown[f"{place.__module__}.{place.__qualname__}.{name}"] = kind
    assert seen > 15
    assert shown.keys() == HARMLESS.keys(), shown
