"""The sample fleet of `make dev` and `make psql`, against a whole local cloud."""

import subprocess
import threading

import psycopg
import pytest

from local.dev.cloud import LocalCloud
from ops.dev import psql
from ops.dev.sample_fleet import FAILING, IN_GRACE, email, fill_sample_fleet
from tests.http.running_operator import Operator
from tests.support.databases import fresh_database


@pytest.fixture(scope="module")
def cloud(tmp_path_factory, _postgres_servers):
    database_url = fresh_database(_postgres_servers("clouds"))
    # With its scheduler: on a busy machine a call of Hangar's functions is lost, and the next minute makes up for it.
    with LocalCloud(tmp_path_factory.mktemp("cloud"), processes=0, database_url=database_url) as cloud:
        fill_sample_fleet(cloud.addresses, threading.Event())
        yield cloud


@pytest.fixture
def operator(cloud, tmp_path):
    operator = Operator(cloud, tmp_path)
    yield operator
    operator.database.close()


@pytest.mark.slow
def test_the_sample_has_30_users_over_three_tiers_and_regions(operator):
    tiers = operator.sql(
        "select s.tier, count(*) from public.user_profiles p join public.user_subscriptions s on s.user_id = p.id"
        " where p.email like '%%@example.com' group by s.tier order by s.tier"
    )
    assert [tier for tier, _ in tiers] == ["elite", "free", "pro"]
    assert sum(count for _, count in tiers) == 30
    regions = operator.sql("select distinct region from public.user_fly_apps where status = 'active' order by 1")
    assert regions == [("fra",), ("iad",), ("sin",)]
    assert operator.sql(
        "select count(*) from public.user_fly_apps where status = 'active' and health_status = 'healthy'"
    ) == [(22,)]


def test_one_sample_user_is_in_grace_and_one_fails_until_it_is_retried(operator):
    in_grace = operator.json("status", email(IN_GRACE))["row"]
    assert (in_grace["status"], in_grace["delete_after"] is not None) == ("deprovisioning", True)
    failing = operator.json("status", email(FAILING))["row"]
    assert (failing["status"], failing["error_code"], failing["next_attempt_at"]) == ("error", "image", None)
    assert "image not found" in failing["error_message"]
    operator.hangar("retry", email(FAILING))
    assert operator.json("status", email(FAILING))["row"]["status"] == "active"


def test_filling_ends_at_once_when_the_cloud_is_stopped(database, operator):
    """Ctrl-C while the fleet is filled must not wait for it. Nothing calls the functions for this database."""
    stopping = threading.Event()
    stopping.set()
    with psycopg.connect(database, autocommit=True) as session:
        session.execute("update hangar.settings set live = true, fly_org_slug = %s", (operator.org,))
        fill_sample_fleet({"database_url": database, "fly_api_url": operator.fly_url}, stopping)
        assert session.execute("select count(*) from public.user_subscriptions where tier <> 'free'").fetchone() == (
            24,
        )
    operator.set_faults()


def test_psql_opens_the_database_of_the_cloud(cloud):
    url = psql.read_database_url(cloud.folder / "dev.json")
    done = subprocess.run(
        [psql.find_psql(), url, "-Atc", "select live from hangar.settings"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "t\n"
