"""The client stays within Fly's documented limits. A 429 delays only the calls that it applies to."""

import threading
from collections import Counter
from random import Random

import pytest

from local.fly.state.rate import RateLimits as FlysOwn
from shared.domain import errors
from shared.fly.messages import Request
from shared.fly.rate_limits import RateLimits
from tests.unit.scripted_fly import ScriptedFly, Time, answer, error_body, make_client

BUSY = answer(429, error_body("rate limit exceeded"))


def delete_app(app):
    return Request(f"delete app {app}", "DELETE", f"/v1/apps/{app}", app)


def get_machine(app):
    return Request("get machine", "GET", f"/v1/apps/{app}/machines/m1", app)


def stop_machine(app):
    return Request("stop machine", "POST", f"/v1/apps/{app}/machines/m1/stop", app)


def create_app(app):
    return Request("create app", "POST", "/v1/apps", app)


def sends(limits, time, call, seconds):
    """The time at which each call was sent, for as many calls as fit into `seconds`."""
    went, ends_at = [], time.clock() + seconds
    while True:
        try:
            limits.wait_turn(call, ends_at)
        except errors.Throttled:
            return went
        went.append(time.clock())
        if len(went) > 2000:
            return went


def rounded(seconds):
    """Waits are rounded up to whole seconds, so none is shorter than Fly asks for."""
    return [round(each) for each in seconds]


def most_in(times, window_s):
    return max(sum(start <= at < start + window_s for at in times) for start in times)


@pytest.mark.parametrize(("call", "burst", "a_second"), [(stop_machine("a"), 3, 1), (get_machine("a"), 10, 5)])
def test_one_action_on_one_app_or_machine_keeps_its_pace(call, burst, a_second):
    """The burst is sent at once, then calls keep the documented rate."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    went = sends(limits, time, call, 20)
    assert went.count(1000.0) == burst
    assert burst + 20 * a_second - 3 <= len(went) <= burst + 20 * a_second  # never faster, hardly slower


def test_other_apps_and_other_actions_do_not_wait():
    """Limits apply per app and action. Creating apps has no documented limit."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    for number in range(500):
        limits.wait_turn(stop_machine(f"a{number}"), None)
        limits.wait_turn(create_app(f"a{number}"), None)
    limits.wait_turn(get_machine("a1"), None)
    assert time.slept == []


def test_no_minute_has_more_than_a_hundred_app_deletions():
    """The limit holds in every window of 60 s."""
    time = Time()
    limits, random, went = RateLimits(time.clock, time.sleep), Random(1), []  # noqa: S311  reproducible randomness
    for number in range(450):
        time.now += random.choice([0, 0, 0, 0.2, 3])
        limits.wait_turn(delete_app(f"a{number}"), None)
        went.append(time.clock())
    assert most_in(went, 60) == 100


def test_fly_accepts_every_call_that_the_limiter_allows():
    """A thousand random calls to a few apps and machines cause no 429 in the simulator."""
    time = Time()
    limits, fly, random = RateLimits(time.clock, time.sleep), FlysOwn(), Random(2)  # noqa: S311  as above
    for _ in range(1000):
        app = f"a{random.randrange(4)}"
        call, action, about = random.choice(
            [
                (stop_machine(app), "POST stop", app),
                (get_machine(app), "GET /v1/apps/{app_name}/machines/{machine_id}", app),
                (delete_app(app), "DELETE /v1/apps/{app_name}", app),
            ]
        )
        limits.wait_turn(call, None)
        assert fly.wait_s(action, about, time.clock()) == 0
        time.now += random.choice([0, 0, 0.1, 0.5])


def test_a_wait_beyond_the_budget_is_refused():
    """The call is not sent and not counted. The error says when it may be sent."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    for _ in range(3):
        limits.wait_turn(stop_machine("a"), None)
    with pytest.raises(errors.Throttled) as caught:
        limits.wait_turn(stop_machine("a"), time.clock() + 0.5)
    assert (caught.value.code, round(caught.value.retry_after_s), time.slept) == ("rate_limited", 1.0, [])
    limits.wait_turn(stop_machine("a"), time.clock() + 1.3)
    assert rounded(time.slept) == [1.0]


def test_a_429_on_a_deletion_holds_back_all_deletions_and_nothing_else():
    """The limit of app deletions applies to the organisation."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    limits.hold(delete_app("a"), 20)
    limits.wait_turn(stop_machine("a"), None)
    limits.wait_turn(create_app("b"), None)
    assert time.slept == []
    limits.wait_turn(delete_app("b"), None)
    assert rounded(time.slept) == [20]


def test_a_429_on_one_app_holds_back_that_action_on_that_app():
    """Afterwards calls are sent one at a time, without a burst."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    limits.hold(stop_machine("a"), 20)
    limits.wait_turn(stop_machine("b"), None)
    assert time.slept == []
    for _ in range(3):
        limits.wait_turn(stop_machine("a"), None)
    assert rounded(time.slept) == [20, 1, 1]


def test_a_429_on_creating_apps_holds_back_all_creations():
    """The call names no app, so the hold applies to the organisation."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    limits.hold(create_app("a"), 7)
    limits.wait_turn(create_app("b"), None)
    assert rounded(time.slept) == [7]


def test_a_waiting_call_also_respects_a_later_429():
    """A hold that one worker causes also applies to workers which already wait."""
    time = Time()
    held = []

    def sleep(seconds):
        time.sleep(seconds)
        if not held:
            held.append(True)
            limits.hold(delete_app("b"), 15)

    limits = RateLimits(time.clock, sleep, deletions_a_minute=1)
    limits.wait_turn(delete_app("a"), None)
    limits.wait_turn(delete_app("c"), None)
    assert time.clock() >= 1000 + 60 + 15


def test_a_call_is_not_sent_after_a_suspension_past_its_budget():
    """A process that was suspended past its budget may have lost its lease."""
    time = Time()
    limits = RateLimits(time.clock, lambda _seconds: time.sleep(300))
    for _ in range(3):
        limits.wait_turn(stop_machine("a"), None)
    with pytest.raises(errors.Throttled):
        limits.wait_turn(stop_machine("a"), time.clock() + 40)


def test_memory_stays_bounded_for_ten_thousand_apps():
    """Only the rates of the last seconds are kept."""
    time = Time()
    limits = RateLimits(time.clock, time.sleep)
    most = 0
    for number in range(20_000):
        limits.wait_turn(get_machine(f"a{number}"), None)
        time.now += 0.01
        most = max(most, len(limits))
    assert most <= 30
    time.now += 60
    limits.wait_turn(get_machine("last"), None)
    assert len(limits) == 1


def test_threads_share_one_limit():
    """With 16 concurrent threads, no two calls use the same place."""
    slept = []
    limits = RateLimits(lambda: 1000.0, slept.append, deletions_a_minute=10)
    gate = threading.Barrier(16)

    def delete(number):
        gate.wait()
        for each in range(5):
            limits.wait_turn(delete_app(f"a{number}-{each}"), None)

    threads = [threading.Thread(target=delete, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(int(seconds // 60) for seconds in slept) == dict.fromkeys(range(1, 8), 10)


def test_a_429_also_delays_other_calls_of_the_client():
    """Fly's Retry-After on one deletion also delays the next deletion."""
    time = Time()
    fly = ScriptedFly(answer(429, error_body("rate limit exceeded"), retry_after="20"), answer(202))
    client = make_client(fly, time)
    with pytest.raises(errors.TransientError) as caught:
        client.delete_app("a", budget_s=5)
    assert (type(caught.value), caught.value.attempts_made) == (errors.TransientError, 1)
    with pytest.raises(errors.Throttled) as throttled:
        client.delete_app("b", budget_s=5)
    assert (throttled.value.attempts_made, len(fly.requests)) == (0, 1)
    client.delete_app("b", budget_s=40)
    assert (round(time.clock()), len(fly.requests)) == (1020, 2)


@pytest.mark.parametrize("dated", [{}, {"date": "Thu, 26 Nov 2026 10:00:00 GMT"}])
def test_a_429_without_a_usable_time_holds_for_the_first_wait(dated):
    """A missing, invalid or past time counts as two seconds, the first wait between attempts."""
    time = Time()
    headers = {"retry_after": "Thu, 26 Nov 2026 10:00:00 GMT", **dated} if dated else {}
    client = make_client(ScriptedFly(answer(429, error_body("rate limit exceeded"), **headers), answer(202)), time)
    client.delete_app("a")
    assert time.slept == [2]


def test_retry_after_as_a_date_is_kept():
    """RFC 9110 allows both forms. A date is relative to the response's own date."""
    time = Time()
    headers = {"retry_after": "Thu, 26 Nov 2026 10:00:12 GMT", "date": "Thu, 26 Nov 2026 10:00:00 GMT"}
    client = make_client(ScriptedFly(answer(429, error_body("rate limit exceeded"), **headers), answer(202)), time)
    client.delete_app("a")
    assert time.slept == [12]


def test_a_storm_of_429_ends_after_four_attempts():
    """Each 429 counts as an attempt. The waits are those of any transient failure."""
    time = Time()
    fly = ScriptedFly(BUSY)
    with pytest.raises(errors.TransientError) as caught:
        make_client(fly, time).delete_app("a")
    assert (type(caught.value), caught.value.attempts_made, len(fly.requests)) == (errors.TransientError, 4, 4)
    assert time.slept == [2, 4, 8]


def test_an_unknown_outcome_is_not_hidden_by_holding_back():
    """The first attempt may have taken effect, even if the limit does not allow a second one."""
    time = Time()
    fly = ScriptedFly(answer(504))
    client = make_client(fly, time)
    limits = client._link._limits
    seen = []

    def attempts(number, error, wait_s):
        seen.append(number)
        limits.hold(Request("stop", "POST", "/v1/apps/a/machines/m1/stop", "a"), 30)

    with pytest.raises(errors.OutcomeUnknown):
        client.stop_machine("a", "m1", budget_s=10, attempts=attempts)
    assert (len(fly.requests), seen) == (1, [1])
