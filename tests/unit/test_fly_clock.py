"""Fly's clock, measured by the `Date` of its answers."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from shared.fly.clock import FlyClock, find_common_lead
from tests.unit.scripted_fly import ScriptedFly, Time, answer, error_body, make_client

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


def make_clock(*leads_s):
    """A clock that has read Fly's time, so many seconds ahead of `NOW`, a second apart."""
    time = Time()
    clock = FlyClock(time.clock)
    for lead_s in leads_s:
        clock.note(NOW + timedelta(seconds=lead_s) + timedelta(seconds=time.now - 1000))
        time.sleep(1)
    return clock, NOW + timedelta(seconds=time.now - 1000)


@pytest.mark.parametrize(
    ("leads_s", "expected_s"),
    [
        ((), 0),
        ((3, 3), 0),
        ((-4, 1), 0),
        ((720,), 720),
        ((720, 719), 719),
        ((-720, -720), -720),
        ((0, 720), None),
        ((720, 0), None),
        ((0, 720, 720), 720),
    ],
)
def test_the_lead_is_what_the_last_two_answers_agree_on(leads_s, expected_s):
    """One answer with a wrong Date must not make every machine old. A second or two are noise."""
    clock, now = make_clock(*leads_s)
    assert clock.lead_over(now) == (None if expected_s is None else timedelta(seconds=expected_s))


def test_every_answer_of_fly_tells_its_time_and_no_other_does():
    """Also an error; but not the page of a proxy, which has a clock of its own, nor an unreadable date."""
    time = Time()
    late = {"date": format_datetime(NOW + timedelta(hours=1), usegmt=True)}
    right = {"date": format_datetime(NOW, usegmt=True)}
    proxy = answer(502, "<html>", **late)
    del proxy.headers["fly-request-id"]
    strange = answer(404, error_body("app not found"), date="yesterday")
    fly = ScriptedFly(answer(404, error_body("app not found"), **right), proxy, strange)
    client = make_client(fly, time).single_attempts()
    for _ in range(3):
        with pytest.raises(Exception, match="get app"):
            client.get_app("a")
    assert client.lead_over(NOW) == timedelta(0)
    client = make_client(ScriptedFly(answer(404, error_body("app not found"), **late)), time)
    with pytest.raises(Exception, match="get app"):
        client.get_app("a")
    assert client.lead_over(NOW) == timedelta(hours=1)


@pytest.mark.parametrize(
    ("leads_s", "expected_s"),
    [
        ((0,), 0),
        ((720, 725), 725),
        ((725, 720), 720),
        ((0, 31), None),
        ((720, 0, 0), None),
        ((None, 0), None),
        ((0, None), None),
    ],
)
def test_leads_of_several_answers_are_one_only_if_they_agree(leads_s, expected_s):
    leads = [None if each is None else timedelta(seconds=each) for each in leads_s]
    assert find_common_lead(leads) == (None if expected_s is None else timedelta(seconds=expected_s))
