"""Where the files of `examples/bindings` are: in the checkout, or in the installed package."""

from pathlib import Path

_PACKAGED = Path(__file__).parent / "install" / "bindings"


def find_binding_file(name: str, packaged: Path = _PACKAGED) -> str:
    """The path that an operator can give to psql. A package has a copy, because it has no folder `examples`."""
    return str(packaged / name) if packaged.is_dir() else f"examples/bindings/{name}"
