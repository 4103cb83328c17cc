"""Calls that pass through layers. Each layer sees the call, may act before and after it, and passes it on."""

from collections.abc import Callable, Sequence
from typing import Any

Call = Callable[..., Any]
Layer = Callable[..., Any]
"""A layer is called as `layer(pass_on, *arguments)`: `pass_on` is the next layer, `arguments` are the call's."""


def compose(layers: Sequence[Layer], innermost: Call) -> Call:
    """One callable that passes through all layers; the first layer is the outermost."""
    for layer in reversed(layers):
        innermost = _wrap(layer, innermost)
    return innermost


def _wrap(layer: Layer, pass_on: Call) -> Call:
    return lambda *arguments: layer(pass_on, *arguments)
