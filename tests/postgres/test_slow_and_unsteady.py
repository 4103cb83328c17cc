"""The alert that stands and falls with a sweep's end: apps long on their way."""

import pytest

pytestmark = pytest.mark.every_postgres

HOUR = 3600


def open_alerts(hangar):
    rows = hangar.sql(
        "select kind, key from hangar.alerts where resolved_at is null and kind <> 'nudges' order by 1, 2"
    )
    return [(row["kind"], row["key"]) for row in rows]


def finish(hangar, *, complete=True):
    token = hangar.rpc("fly_sweep_claim")["token"]
    assert hangar.rpc("fly_sweep_finish", name="fleet", token=token, report={}, complete=complete) == {"ok": True}


def test_every_sweep_that_ends_tells_what_is_long_on_its_way(hangar):
    """Also one that had no time for the whole fleet: it is then that rows starve."""
    user = hangar.user("pro")
    hangar.shift_clock(HOUR - 60)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == []
    hangar.shift_clock(HOUR + 60)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == [("provisioning_slow", "fleet")]
    [alert] = [each for each in hangar.rpc("fly_take_alerts")["alerts"] if each["kind"] == "provisioning_slow"]
    assert hangar.live_row(user)["fly_app_name"] in alert["message"]
    hangar.converge(user)
    finish(hangar, complete=False)
    assert open_alerts(hangar) == []
