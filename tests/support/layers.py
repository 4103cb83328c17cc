"""Calls that pass through layers: each sees the call, may act before and after, and passes it on."""

from collections.abc import Callable, Sequence
from typing import Any

Call = Callable[..., Any]
Layer = Callable[..., Any]
"""Called with what comes behind it and the call's arguments: `layer(pass_on, *arguments)`."""


def compose(layers: Sequence[Layer], innermost: Call) -> Call:
    """One callable that passes through all layers, the first of them outermost."""
    for layer in reversed(layers):
        innermost = _wrap(layer, innermost)
    return innermost


def _wrap(layer: Layer, pass_on: Call) -> Call:
    return lambda *arguments: layer(pass_on, *arguments)
