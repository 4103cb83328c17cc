"""Where `hangar doctor` finds the settings of the installation that it checks."""

import pytest

from ops.connection import TargetError
from ops.doctor.surroundings import read_surroundings

FILE = "SUPABASE_URL=https://file.example\nSUPABASE_SECRET_KEY=sb_secret_x\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env.hangar").write_text(FILE)
    return tmp_path


def test_the_functions_of_the_project_file_count_beside_the_secrets(folder):
    (folder / "hangar.toml").write_text(
        '[functions]\nSUPABASE_PUBLISHABLE_KEY = "sb_publishable_x"\nSUPABASE_URL = "no"\n'
    )
    found = read_surroundings({})
    assert (found.supabase_url, found.publishable_key) == ("https://file.example", "sb_publishable_x")


def test_the_environment_alone_counts_when_it_names_the_installation(folder):
    (folder / "hangar.toml").write_text('[functions]\nSUPABASE_PUBLISHABLE_KEY = "sb_publishable_x"\n')
    found = read_surroundings({"SUPABASE_URL": "https://env.example", "SUPABASE_SECRET_KEY": "sb_secret_y"})
    assert (found.supabase_url, found.publishable_key) == ("https://env.example", None)


def test_a_broken_project_file_is_named(folder):
    (folder / "hangar.toml").write_text("[functions")
    with pytest.raises(TargetError, match=r"hangar\.toml is not valid TOML"):
        read_surroundings({})


MISTAKES = [
    ('[functions]\nFLY_API_TOKEN = "FlyV1 fm2_canary"\n', "FLY_API_TOKEN is a secret. Move it to .env.hangar"),
    ("[functions]\nFLY_ORG_SLUG = 5\n", "FLY_ORG_SLUG must be a text in quotes"),
    ('[functions]\nFLY_ORG = "acme"\n', "[functions] has FLY_ORG, which is no setting"),
    ('[[functions]]\nFLY_ORG_SLUG = "acme"\n', "[functions] must be a table of settings"),
]


@pytest.mark.parametrize(("text", "says"), MISTAKES)
def test_what_a_deployment_would_refuse_in_the_project_file_is_a_problem(folder, text, says):
    """Doctor was content with it, and took the number 5 for the name of an organisation."""
    (folder / "hangar.toml").write_text(text)
    found = read_surroundings({})
    assert says in found.problems[0]
    assert "canary" not in str(found.problems)
    assert found.fly_org is None


def test_a_project_file_without_mistakes_is_no_problem(folder):
    (folder / "hangar.toml").write_text('[functions]\nFLY_ORG_SLUG = "acme"\n')
    assert "hangar.toml" not in str(read_surroundings({}).problems)
