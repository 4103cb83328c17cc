"""Deploy entry: each process imports only the function that FUNCTION_TARGET (or `--target`) names."""

from importlib import import_module
from typing import Any

_MODULES = {
    "provision": "functions.provision.main",
    "deprovision": "functions.deprovision.main",
    "health": "functions.health.main",
    "admin": "functions.admin.main",
}


def __getattr__(name: str) -> Any:
    """Import a function when it is first used. Its module reads the settings, and ends the process if they are wrong."""
    if name not in _MODULES:
        raise AttributeError(f"main has no {name!r}; the functions are {', '.join(_MODULES)}")
    function = getattr(import_module(_MODULES[name]), name)
    globals()[name] = function
    return function
