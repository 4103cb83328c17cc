"""The reference backend (examples/backend) as a module, for tests that look inside. It is in no package."""

import importlib.util
import sys
from types import ModuleType

from local.dev.child import BACKEND


def load_backend() -> ModuleType:
    """The module; loaded once."""
    name = "example_backend"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, BACKEND)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # before it runs: its dataclasses look their module up
        spec.loader.exec_module(module)
    return sys.modules[name]
