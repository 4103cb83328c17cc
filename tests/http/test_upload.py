"""What a build uploads, and what a commit takes: never a key, a file of secrets, or the folder of the local cloud."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.http.image_layout import is_sent

ROOT = Path(__file__).resolve().parents[2]
SECRET_FILES = [
    ".env", ".env.hangar", ".env.hangar.x7", ".env.local", "deploy/user-token-key.json", "deploy/settings.env", "settings.env",
    "user-token-key.json", "supabase-secret-key.txt", "fly-api-token.txt", ".hangar/dev.json", ".hangar/data/keys.json",
    "shared/.env.hangar", "functions/admin/.env", "functions/key.pem", "shared/settings.env", "shared/signing-key.json",
    "deploy/service-account-key.json", ".git/config", ".venv/bin/python", "hangar.toml",
]  # fmt: skip
NEEDED = [
    "main.py",
    "shared/wiring.py",
    "functions/admin/static/style.css",
    "deploy/requirements.lock",
    "shared/domain/data/fly_prices.json",
]


def uploads(path, lines):
    """Whether a file of .gitignore's form lets this path pass. A folder that is left out takes everything in it along."""
    parts = Path(path).parts
    return all(not is_left_out("/".join(parts[:n]), n < len(parts), lines) for n in range(1, len(parts) + 1))


def is_left_out(path, is_folder, lines):
    left_out = False
    for line in lines:
        pattern = line.removeprefix("!")
        if pattern.endswith("/") and not is_folder:
            continue
        anchored = pattern.startswith("/")
        words = re.escape(pattern.strip("/").removeprefix("**/")).replace(r"\*", "[^/]*")
        if re.fullmatch(words if anchored else f"(?:.*/)?{words}", path):
            left_out = not line.startswith("!")
    return left_out


def read_lines(name):
    return [each for each in (ROOT / name).read_text().splitlines() if each and not each.startswith("#")]


@pytest.mark.parametrize("path", SECRET_FILES)
def test_no_build_uploads_a_secret(path):
    assert not uploads(path, read_lines(".gcloudignore"))
    assert not is_sent(Path(path), read_lines(".dockerignore"))


@pytest.mark.parametrize("path", NEEDED)
def test_a_build_has_what_it_needs(path):
    if "static" not in path:
        assert (ROOT / path).is_file()
    assert uploads(path, read_lines(".gcloudignore"))
    assert is_sent(Path(path), read_lines(".dockerignore"))


def test_cloud_build_gets_the_recipe_of_the_image():
    assert uploads("deploy/Dockerfile", read_lines(".gcloudignore"))
    assert uploads("deploy/cloudbuild.yaml", read_lines(".gcloudignore"))


def test_the_files_of_the_repository_that_are_uploaded_are_those_of_the_image():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no git checkout")
    sent = {path for path in listed.stdout.splitlines() if uploads(path, read_lines(".gcloudignore"))}
    recipe = {"deploy/Dockerfile", "deploy/cloudbuild.yaml"}
    assert {path for path in sent if not re.match(r"(shared|functions)/", path)} == {
        "main.py",
        "deploy/requirements.lock",
    } | recipe
    image = {path for path in listed.stdout.splitlines() if is_sent(Path(path), read_lines(".dockerignore"))}
    assert sent - recipe == image


@pytest.mark.parametrize("path", [".env.hangar", ".env.hangar.x7", ".hangar/dev.json", "deploy/settings.env"])
def test_no_commit_takes_a_secret(path):
    asked = subprocess.run(
        ["git", "check-ignore", "-q", "--no-index", path], cwd=ROOT, capture_output=True, check=False
    )
    if asked.returncode == 128:
        pytest.skip("this is no git checkout")
    assert asked.returncode == 0, path
