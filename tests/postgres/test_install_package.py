"""`hangar install` from a built wheel, in an environment that has no checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.postgres.installer import NAMES, as_owner, read_ledger

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folder of the wheel's content, as an installer unpacks it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if tracked.returncode:
        pytest.skip("this is no git checkout")
    # A copy, because a build leaves folders beside what it builds.
    for name in filter(None, tracked.stdout.split("\0")):
        if (
            name.startswith(("ops/", "shared/", "functions/", "local/", "tools/", "supabase/", "examples/"))
            or "/" not in name
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    built = subprocess.run([sys.executable, "-c", command], cwd=source, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_the_wheel_has_every_file_and_installs_from_it(unpacked, bare_database):
    assert sorted(path.name for path in (unpacked / "ops" / "install" / "schema").iterdir()) == NAMES
    command = (
        "import sys; sys.path[:] = [path for path in sys.path if path]; import ops.cli;"
        f" assert ops.cli.__file__.startswith({str(unpacked)!r}), ops.cli.__file__; ops.cli.main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", command, "install", "--database-url", as_owner(bare_database)],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert read_ledger(bare_database) == NAMES


def test_the_wheel_has_the_example_bindings_and_names_where_they_are(unpacked):
    """`hangar init` tells an operator which file to run, and there is no folder `examples` beside a package."""
    examples = {path.name: path.read_text() for path in (ROOT / "examples" / "bindings").glob("*.sql")}
    assert len(examples) > 5
    command = (
        "import sys; sys.path[:] = [path for path in sys.path if path]; from pathlib import Path;"
        " from ops.binding_files import find_binding_file;"
        " print(*(Path(find_binding_file(name)).read_text() == text for name, text in eval(sys.argv[1]).items()))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", command, repr(examples)],
        cwd=unpacked.parent,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert set(ended.stdout.split()) == {"True"}
