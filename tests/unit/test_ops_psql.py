"""`make psql`: which psql and which database it opens, and the message without a database."""

import json
import os

import pytest

from local.supabase.postgres.server import PostgresError
from ops.dev.psql import PsqlError, find_psql, main, read_database_url


def test_psql_comes_from_the_postgres_in_use_else_from_the_path(tmp_path, monkeypatch):
    monkeypatch.setattr("ops.dev.psql.find_binaries", lambda: tmp_path)
    monkeypatch.setattr("ops.dev.psql.shutil.which", lambda name: f"/somewhere/{name}")
    assert find_psql() == "/somewhere/psql"
    (tmp_path / "psql").touch()
    assert find_psql() == str(tmp_path / "psql")


def test_without_any_psql_the_package_to_install_is_named(monkeypatch):
    def find_binaries():
        raise PostgresError("none")

    monkeypatch.setattr("ops.dev.psql.find_binaries", find_binaries)
    monkeypatch.setattr("ops.dev.psql.shutil.which", lambda _name: None)
    with pytest.raises(PsqlError, match="postgresql-client"):
        find_psql()


@pytest.mark.parametrize("content", [None, "{", "{}", json.dumps({"pid": 2**22 + 1, "database_url": "x"})])
def test_a_local_cloud_that_is_not_running_is_one_line_and_exit_2(content, tmp_path, monkeypatch, capsys):
    dev_file = tmp_path / "dev.json"
    if content is not None:
        dev_file.write_text(content)
    monkeypatch.setattr("ops.dev.psql.read_database_url", lambda: read_database_url(dev_file))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "hangar: the local cloud is not running: start it with `make dev` in another terminal"
    ]


def test_a_running_local_cloud_gives_its_database(tmp_path):
    dev_file = tmp_path / "dev.json"
    dev_file.write_text(json.dumps({"pid": os.getpid(), "database_url": "postgresql://somewhere"}))
    assert read_database_url(dev_file) == "postgresql://somewhere"
