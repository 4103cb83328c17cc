"""`hangar user erase` over real sockets: from a paying user to nothing that names the person, in database and bucket."""

import json

import pytest

from ops.json_shapes import JSON_SHAPES
from ops.project_files import write_private, write_public
from tests.http.running_operator import open_operator
from tests.support.object_store import CREDENTIALS, NAME, run_object_store


@pytest.fixture(scope="module")
def store():
    with run_object_store() as store:
        yield store


@pytest.fixture
def operator(cloud, tmp_path, store):
    with open_operator(cloud, tmp_path) as operator:
        for name in [name for name in operator.env if name.startswith(("AWS_", "HANGAR_ARCHIVE"))]:
            del operator.env[name]
        yield operator
        for key in store.objects():
            store.remove(key)


@pytest.fixture
def left(operator):
    """A user who paid, and has left: the app is deleted at Fly."""
    [user] = operator.add_users(1)
    operator.hangar("migrate-users", "--apply")
    operator.sql("update hangar.settings set removal_hold_s = 0")
    operator.sql("update public.user_subscriptions set tier = 'free' where user_id = %s", user)
    operator.hangar("sweep")
    assert operator.apps_on_fly() == []
    return user


def traces(operator, user, email):
    texts = [text for (text,) in operator.sql("select e::text from public.user_fly_app_events e")]
    texts += [text for (text,) in operator.sql("select a::text from public.user_fly_apps a")]
    return sum(str(user) in text or email in text for text in texts)


@pytest.mark.slow
def test_from_the_dry_run_to_a_restore_without_the_person(operator, store, left, tmp_path):
    """What an operator does, in order. The bucket is named in the two files, as `hangar init` leaves them."""
    email = operator.email(left)
    operator.sql(
        "insert into public.user_fly_app_events (user_id, event_type, status, created_at)"
        " values (%s, 'health_check_failed', 'failed', now() - interval '50 days')",
        left,
    )
    operator.sql("update hangar.settings set events_retention_days = 30")
    operator.hangar("archive", "run", **store.environ)
    before = traces(operator, left, email)
    out, _ = operator.hangar("user", "erase", email)
    assert "public.user_fly_app_events" in out
    assert "was not searched: --archive searches it" in out
    assert "To erase the person, add --apply" in out
    shown = json.loads(operator.hangar("user", "erase", email, "--archive", "--json", **store.environ)[0])
    assert set(shown) == set(JSON_SHAPES["user erase"].keys)
    assert (shown["applied"], shown["archived"][0]["rows"]) == (False, 1)
    assert shown["archived"][0]["manifest"] in store.objects()
    assert traces(operator, left, email) == before > 0
    _, err = operator.hangar("user", "erase", email, "--apply", "--reason", "asked", exits=2)
    assert "without a terminal this needs --yes" in err
    _, err = operator.hangar("user", "erase", email, "--apply", "--yes", exits=2)
    assert "--reason" in err
    assert traces(operator, left, email) == before
    out, _ = operator.hangar(
        "user", "erase", email, "--apply", "--yes", "--archive", "--reason", f"{email} asked", **store.environ
    )
    assert f"{email} is erased" in out
    assert "1 rows name the person" in out
    assert traces(operator, left, email) == 0
    into = tmp_path / "log.jsonl"
    operator.hangar("archive", "restore", "--into", str(into), **store.environ)
    assert str(left) not in into.read_text()
    out, _ = operator.hangar("user", "erase", str(left), "--apply", "--yes", "--reason", "again", **store.environ)
    assert "holds nothing about this person" in out
    assert operator.sql("select count(*) from public.user_fly_app_events where event_type = 'user_erased'") == [(1,)]
    out, _ = operator.hangar("events", "--type", "user_erased")
    assert "(erased) asked" in out


def test_a_user_with_an_app_is_refused_with_what_to_do(operator):
    """Exit code 3, also for the dry run; nothing is changed."""
    [user] = operator.add_users(1)
    operator.hangar("migrate-users", "--apply")
    before = operator.statuses()
    out, err = operator.hangar("user", "erase", str(user), exits=3)
    assert "End the subscription in the host's table" in out
    assert "Wait until Hangar has deleted it at Fly" in out
    assert "nothing was changed" in err
    _, err = operator.hangar("user", "erase", str(user), "--apply", "--yes", "--reason", "x", exits=3)
    assert "nothing was erased" in err
    assert operator.statuses() == before


@pytest.mark.slow
def test_without_a_bucket_the_operator_is_told_what_is_left(operator, store, left):
    """A restore would bring the person back until the archiver has run."""
    operator.sql("update hangar.settings set events_retention_days = 30")
    operator.sql(
        "insert into public.user_fly_app_events (user_id, event_type, status, created_at)"
        " values (%s, 'health_check_failed', 'failed', now() - interval '50 days')",
        left,
    )
    operator.hangar("archive", "run", **store.environ)
    _, err = operator.hangar("user", "erase", str(left), "--apply", "--yes", "--reason", "asked")
    assert "run `hangar archive run` where it is" in err
    operator.hangar("archive", "run", **store.environ)
    assert [key for key in store.objects() if "/erased/" in key]


def test_the_archive_reads_the_files_of_the_folder(operator, store):
    """Bucket and prefix from hangar.toml, the rest and the credentials from .env.hangar; the environment wins."""
    place = store.environ
    names = ("SUPABASE_URL", "SUPABASE_SECRET_KEY")
    on_file = {name: operator.env.pop(name) for name in names} | CREDENTIALS
    on_file["HANGAR_ARCHIVE_ENDPOINT"] = place["HANGAR_ARCHIVE_ENDPOINT"]
    write_private(operator.folder / ".env.hangar", "".join(f"{name}={value}\n" for name, value in on_file.items()))
    write_public(operator.folder / "hangar.toml", f'[archive]\nbucket = "{NAME}"\nprefix = "from-the-file"\n')
    operator.env |= dict.fromkeys(names, "")
    _, out, _ = operator.run_here(["archive", "verify"])
    assert "objects hold what the database recorded" in out
    code, _, err = operator.run_here(["archive", "verify"], {"HANGAR_ARCHIVE_BUCKET": "no-such-bucket"})
    assert (code, "no-such-bucket does not exist" in err) == (1, True)
    write_public(operator.folder / "hangar.toml", f'[archive]\nbucket = "{NAME}"\nsecret = "x"\n')
    code, _, err = operator.run_here(["archive", "verify"])
    assert (code, "[archive] has secret; it may have bucket" in err) == (2, True)


def test_a_bucket_of_the_files_is_not_that_of_another_installation(operator):
    """An installation that the environment names takes nothing from the files."""
    write_public(operator.folder / "hangar.toml", f'[archive]\nbucket = "{NAME}"\n')
    _, err = operator.hangar("archive", "verify", exits=2)
    assert "no archive is configured" in err
