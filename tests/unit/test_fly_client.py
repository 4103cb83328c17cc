"""The Fly client: the requests it sends, the waits between attempts, and no secret in any output."""

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from shared.adapters.http_client import get_tls_context
from shared.domain import errors
from shared.domain.paging import MOST_PAGES
from shared.fly.client import FlyClient
from shared.fly.models import Check, ExecResult
from shared.fly.transport import AppCookies, format_authorization
from tests.unit.scripted_fly import TOKEN, ScriptedFly, Time, answer, error_body, make_client

APP, ID = "vyx-user-0a1b2c3d", "148e1234c56789"
MACHINE = {
    "id": ID,
    "name": f"{APP}-main",
    "state": "started",
    "region": "fra",
    "version": "01HVERSION",
    "instance_id": "01HVERSION",
    "created_at": "2026-11-22T10:00:00Z",
    "updated_at": "2026-11-22T10:00:05.123456789Z",
    "config": {
        "image": "registry.fly.io/backend:1",
        "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
        "metadata": {"user": "u", "row": "r"},
    },
    "checks": [{"name": "health", "status": "passing"}],
    "host_status": "ok",
}
BUSY = answer(503, error_body("unavailable"))


def test_create_app_sends_both_name_fields_and_its_idempotency_key():
    """Fly documents `app_name` and `name`; `wait=true` answers only once the app is visible to the Machines API."""
    fly = ScriptedFly(answer(201, {"id": "1", "created_at": 1}))
    make_client(fly).create_app(APP, "net-1", "key-1")
    assert fly.paths == ["POST /v1/apps?wait=true"]
    assert fly.bodies == [
        {"app_name": APP, "name": APP, "org_slug": "acme", "network": "net-1", "idempotency_key": "key-1"}
    ]


def test_create_machine_sends_its_name_region_list_and_secrets_version():
    """The response becomes a machine. A region may be a list in order of preference."""
    fly = ScriptedFly(answer(200, MACHINE))
    machine = make_client(fly).create_machine(APP, f"{APP}-main", ("fra", "eu"), {"image": "i"}, 7)
    assert fly.paths == [f"POST /v1/apps/{APP}/machines"]
    assert fly.bodies == [
        {"name": f"{APP}-main", "region": "fra,eu", "config": {"image": "i"}, "min_secrets_version": 7}
    ]
    assert (machine.id, machine.region, machine.version, machine.cpus, machine.memory_mb) == (
        ID,
        "fra",
        "01HVERSION",
        2,
        512,
    )
    assert machine.checks == (Check("health", "passing"),)


def test_the_other_writes_follow_the_openapi_description():
    """Method, path and body of every other write are those of Fly's OpenAPI description."""
    fly = ScriptedFly(answer(200, MACHINE))
    client = make_client(fly)
    client.update_machine(APP, ID, {"image": "i"}, "01V")
    client.start_machine(APP, ID)
    client.stop_machine(APP, ID, signal="SIGTERM", timeout_s=45)
    client.restart_machine(APP, ID, timeout_s=45)
    client.destroy_machine(APP, ID)
    client.delete_app(APP)
    assert fly.paths == [
        f"POST /v1/apps/{APP}/machines/{ID}",
        f"POST /v1/apps/{APP}/machines/{ID}/start",
        f"POST /v1/apps/{APP}/machines/{ID}/stop",
        f"POST /v1/apps/{APP}/machines/{ID}/restart?signal=SIGTERM&timeout=45s",
        f"DELETE /v1/apps/{APP}/machines/{ID}?force=true",
        f"DELETE /v1/apps/{APP}?force=true",
    ]
    assert fly.bodies == [
        {"config": {"image": "i"}, "current_version": "01V"},
        None,
        {"signal": "SIGTERM", "timeout": "45s"},
        None,
        None,
        None,
    ]


@pytest.mark.parametrize("status", [404, 410])
def test_deleting_something_already_gone_succeeds(status):
    """A 404 or 410 to a delete is a success."""
    client = make_client(ScriptedFly(answer(status, error_body("app not found"))))
    client.delete_app(APP)
    client.destroy_machine(APP, ID)


@pytest.mark.parametrize("reply", [answer(404, "404 page not found"), httpx.Response(404), answer(410, "<html>")])
def test_a_404_that_is_not_flys_own_proves_nothing(reply):
    """With a wrong FLY_API_URL every call is a 404, which must not count as deleted."""
    client = make_client(ScriptedFly(reply))
    for act in (lambda: client.delete_app(APP), lambda: client.destroy_machine(APP, ID), lambda: client.get_app(APP)):
        with pytest.raises(errors.TransientError) as caught:
            act()
        assert "FLY_API_URL" in str(caught.value)


def test_an_address_with_or_without_its_version_is_the_same():
    """The paths already start with /v1."""
    for base_url in ("https://fly.test", "https://fly.test/", "https://fly.test/v1", "https://fly.test/v1/"):
        fly = ScriptedFly(answer(200, MACHINE))
        FlyClient(base_url, TOKEN, org_slug="acme", transport=fly).get_machine(APP, ID)
        assert str(fly.requests[0].url) == f"https://fly.test/v1/apps/{APP}/machines/{ID}"


def test_transient_failures_wait_2_4_8_seconds_and_are_reported():
    """Four attempts. The caller's log gets each one that is repeated; the last one is raised."""
    time, seen = Time(), []
    fly = ScriptedFly(BUSY)
    with pytest.raises(errors.OutcomeUnknown) as caught:
        make_client(fly, time).stop_machine(
            APP, ID, attempts=lambda n, error, wait_s: seen.append((n, error.code, wait_s))
        )
    assert time.slept == [2, 4, 8]
    assert seen == [(1, "outcome_unknown", 2), (2, "outcome_unknown", 4), (3, "outcome_unknown", 8)]
    assert (len(fly.requests), caught.value.attempts_made) == (4, 4)


def test_each_failed_attempt_is_one_line_of_log(caplog):
    """The line has Fly's request id for a support ticket. A "not yet" is not logged as a failure."""
    caplog.set_level(logging.INFO, logger="hangar.fly")
    make_client(ScriptedFly(BUSY, answer(429), answer(200, MACHINE))).get_machine(APP, ID)
    make_client(ScriptedFly(answer(408))).wait_machine(APP, ID, "started", None, 5)
    lines = [each.getMessage() for each in caplog.records if each.name == "hangar.fly"]
    assert len(lines) == 2
    assert all("01TEST-fra" in line and APP in line and "\n" not in line for line in lines)


def test_a_successful_retry_returns_the_result():
    """The response to a repeated call is returned like that to a first one."""
    fly = ScriptedFly(BUSY, httpx.ReadError("reset"), answer(200, MACHINE))
    assert make_client(fly).get_machine(APP, ID).id == ID


@pytest.mark.parametrize(("asked", "slept"), [("7", 7), ("0", 2), ("600", 30)])
def test_retry_after_wins_up_to_its_cap(asked, slept):
    """Fly's Retry-After replaces our wait unless it is 0. Within a call a wait is at most 30 s."""
    time = Time()
    fly = ScriptedFly(answer(429, error_body("rate limit exceeded"), retry_after=asked), answer(200, MACHINE))
    make_client(fly, time).get_machine(APP, ID)
    assert time.slept == [slept]


def test_no_attempt_begins_beyond_the_budget():
    """With a budget of 7 s, the waits of 2 and 4 s happen and the one of 8 s does not."""
    time = Time()
    fly = ScriptedFly(BUSY)
    with pytest.raises(errors.TransientError) as caught:
        make_client(fly, time).get_machine(APP, ID, budget_s=7)
    assert (time.slept, caught.value.attempts_made) == ([2, 4], 3)


def test_no_attempt_begins_after_a_wait_that_took_too_long():
    """If the process was suspended while it waited, its lease may have expired."""
    time = Time()
    fly = ScriptedFly(BUSY)
    client = FlyClient(
        "https://fly.test",
        TOKEN,
        org_slug="acme",
        transport=fly,
        sleep=lambda seconds: time.sleep(seconds + 100),
        clock=time.clock,
    )
    with pytest.raises(errors.TransientError):
        client.stop_machine(APP, ID, budget_s=40)
    assert len(fly.requests) == 1


def test_a_retry_after_beyond_the_budget_is_left_to_the_caller():
    """The error carries Fly's Retry-After, so that the row becomes due at that time."""
    time = Time()
    fly = ScriptedFly(answer(429, error_body("rate limit exceeded"), retry_after="20"))
    with pytest.raises(errors.TransientError) as caught:
        make_client(fly, time).start_machine(APP, ID, budget_s=10)
    assert (time.slept, caught.value.retry_after_s) == ([], 20)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, "EOF"),
        (401, "no"),
        (403, "no"),
        (404, "no"),
        (409, "aborted: no capacity"),
        (422, "could not find a candidate host"),
    ],
)
def test_permanent_errors_are_not_repeated(status, error):
    """Refusals, conflicts and missing capacity are raised after one attempt."""
    time, fly = Time(), ScriptedFly(answer(status, error_body(error)))
    with pytest.raises(errors.HangarError):
        make_client(fly, time).create_machine(APP, "m", "fra", {})
    assert (len(fly.requests), time.slept) == (1, [])


def test_exec_is_not_repeated_after_an_unknown_outcome():
    """The command may have run. A request that Fly rejected did not run, so it is repeated."""
    fly = ScriptedFly(httpx.ReadTimeout("slow"), answer(200, {}))
    with pytest.raises(errors.OutcomeUnknown):
        make_client(fly).exec(APP, ID, ["env"])
    assert len(fly.requests) == 1
    fly = ScriptedFly(answer(429), httpx.ConnectError("x"), answer(200, {"stdout": "USER_ID=1\n", "stderr": ""}))
    assert make_client(fly).exec(APP, ID, ["env"]) == ExecResult("USER_ID=1\n", "", 0)
    assert fly.bodies[-1] == {"command": ["env"], "timeout": 30}


def test_a_lost_answer_to_create_machine_yields_the_created_machine():
    """The repeated call is refused with the id of the machine that the first one made. There is no second one."""
    duplicate = f'already_exists: unique machine name violation, machine ID {ID} already exists with name "{APP}-main"'
    fly = ScriptedFly(httpx.RemoteProtocolError("disconnected"), answer(409, error_body(duplicate)))
    with pytest.raises(errors.Conflict) as caught:
        make_client(fly).create_machine(APP, f"{APP}-main", "fra", {})
    assert (caught.value.machine_id, caught.value.code, caught.value.attempts_made) == (ID, "exists", 2)


def settling(state):
    return answer(412, error_body(f"failed_precondition: unable to start machine from current state: '{state}'"))


def test_start_asks_a_settling_machine_every_second():
    """A 412 of a machine in transition is repeated every second. Other failures keep their own waits."""
    time = Time()
    fly = ScriptedFly(settling("created"), settling("stopping"), BUSY, settling("stopping"), answer(200, {"ok": True}))
    make_client(fly, time).start_machine(APP, ID)
    assert time.slept == [1, 1, 2, 1]


def test_start_gives_up_on_settling_after_a_minute():
    """After a minute the error is raised, and the next step observes the machine again."""
    time = Time()
    with pytest.raises(errors.TransientError) as caught:
        make_client(ScriptedFly(settling("replacing")), time).start_machine(APP, ID)
    assert (caught.value.code, sum(time.slept)) == ("settling", 60)


@pytest.mark.parametrize(
    "status_and_error", [(412, "machine still attempting to start"), (409, "machine still attempting to start")]
)
def test_starting_a_starting_machine_succeeds(status_and_error):
    """A second start while the first is in progress is a success."""
    status, error = status_and_error
    make_client(ScriptedFly(answer(status, error_body(error)))).start_machine(APP, ID)
    make_client(ScriptedFly(settling("started"))).start_machine(APP, ID)


@pytest.mark.parametrize(
    ("reply", "reached"),
    [
        (answer(200, {"ok": True, "state": "started"}), True),
        (
            answer(
                408, error_body("deadline_exceeded: machine failed to reach desired state, started, currently created")
            ),
            False,
        ),
        (answer(408), False),
        (answer(504, "<html>"), False),
        (answer(400, error_body("failed_precondition: machine is currently replaced")), False),
    ],
)
def test_wait_distinguishes_reached_from_not_yet(reply, reached):
    """408 and 504 mean "not yet". They are not failures and are not repeated within the call."""
    fly = ScriptedFly(reply)
    assert make_client(fly).wait_machine(APP, ID, "started", "01V", 20) is reached
    assert fly.paths == [f"GET /v1/apps/{APP}/machines/{ID}/wait?state=started&timeout=20&version=01V"]
    assert fly.requests[0].extensions["timeout"]["read"] == 30


@pytest.mark.parametrize(("asked_s", "sent"), [(0, "1"), (90, "60"), (2.7, "2")])
def test_wait_stays_within_what_fly_allows(asked_s, sent):
    """Fly answers 400 to a timeout outside 1 to 60 s."""
    fly = ScriptedFly(answer(200, {"ok": True}))
    make_client(fly).wait_machine(APP, ID, "started", None, asked_s)
    assert dict(fly.requests[0].url.params) == {"state": "started", "timeout": sent}


def test_wait_interprets_a_missing_machine_by_the_awaited_state():
    """A 404 means reached for `destroyed`, not yet for a new machine, and gone otherwise."""
    client = make_client(ScriptedFly(answer(404, error_body("not_found: machine not found"))))
    assert client.wait_machine(APP, ID, "destroyed", None, 1) is True
    assert client.wait_machine(APP, ID, "started", None, 1, is_fresh=True) is False
    with pytest.raises(errors.NotFound):
        client.wait_machine(APP, ID, "started", None, 1)


def test_set_secrets_returns_the_version_and_never_shows_a_value(caplog):
    """The value is also hidden when Fly's refusal quotes it."""
    value = "canary-value"
    fly = ScriptedFly(answer(200, {"secrets": [], "version": 12}))
    assert make_client(fly).set_secrets(APP, {"TOKEN": value, "OLD": None}) == 12
    assert fly.bodies == [{"values": {"TOKEN": value, "OLD": None}}]
    with pytest.raises(errors.Refused) as caught:
        make_client(ScriptedFly(answer(400, error_body(f"bad value {value}")))).set_secrets(APP, {"TOKEN": value})
    assert "canary" not in "".join(traceback.format_exception(caught.value)) + caplog.text


def test_org_machines_end_only_without_a_cursor():
    """An empty page does not end the listing. Regions that could not be read are reported with their page."""
    item = {"id": ID, "name": "m", "app_name": APP, "state": "hovering", "config": {"metadata": {"row": "r"}}}
    fly = ScriptedFly(
        answer(200, {"machines": [item], "next_cursor": "c1", "error_regions": ["fra"]}),
        answer(200, {"machines": [], "next_cursor": "c2"}),
        answer(200, {"machines": None}),
    )
    pages = list(make_client(fly).list_org_machines())
    assert [len(page.machines) for page in pages] == [1, 0, 0]
    assert [page.error_regions for page in pages] == [("fra",), (), ()]
    assert (pages[0].machines[0].state, pages[0].machines[0].metadata["row"]) == ("unknown", "r")
    assert fly.paths == [
        "GET /v1/orgs/acme/machines?limit=1000",
        "GET /v1/orgs/acme/machines?limit=1000&cursor=c1",
        "GET /v1/orgs/acme/machines?limit=1000&cursor=c2",
    ]


def test_apps_are_listed_5000_at_a_time_from_any_cursor():
    """A listing can continue from an earlier cursor. Items without an organisation count as ours."""
    fly = ScriptedFly(answer(200, {"apps": [{"name": APP, "network": "n", "machine_count": 1}], "total_apps": 1}))
    (page,) = make_client(fly).list_apps(cursor="c7")
    assert (page.apps[0].org_slug, page.apps[0].network, page.next_cursor) == ("acme", "n", None)
    assert fly.paths == ["GET /v1/apps?org_slug=acme&limit=5000&cursor=c7"]


def test_a_listing_that_cannot_continue_must_restart():
    """An expired cursor, one that does not advance, or a page without its list never ends a listing silently."""
    for fly in (
        ScriptedFly(answer(400, error_body("invalid cursor"))),
        ScriptedFly(answer(200, {"machines": [], "next_cursor": "c7"})),
        ScriptedFly(answer(200, {})),
        ScriptedFly(answer(200, "<html>")),
    ):
        with pytest.raises(errors.TransientError):
            list(make_client(fly).list_org_machines(cursor="c7"))


def read_cursors(*cursors):
    """A Fly whose pages follow each other in this order, again and again."""
    return ScriptedFly(*(answer(200, {"machines": [], "apps": [], "next_cursor": each}) for each in cursors * 20))


@pytest.mark.parametrize("cursors", [("a",), ("a", "b"), ("a", "b", "c", "b"), ("a", "b", "c", "d")])
@pytest.mark.parametrize("listing", ["list_org_machines", "list_apps"])
def test_a_listing_that_repeats_itself_ends_in_an_error(listing, cursors):
    """C9: whichever earlier cursor comes again. Each page is read at most once, and the fleet is never half a list."""
    fly = read_cursors(*cursors)
    with pytest.raises(errors.TransientError, match="repeats a page") as caught:
        list(getattr(make_client(fly), listing)())
    assert caught.value.code == "cursor"
    assert len(fly.requests) == len(set(cursors)) + 1


def test_a_listing_without_an_end_ends_in_an_error():
    """Every page has a new cursor and nothing on it."""
    fly = ScriptedFly(*(answer(200, {"apps": [], "next_cursor": str(number)}) for number in range(MOST_PAGES + 5)))
    with pytest.raises(errors.TransientError, match="does not end"):
        list(make_client(fly).list_apps())
    assert len(fly.requests) == MOST_PAGES


def test_a_listing_whose_cursor_is_no_text_cannot_be_read():
    with pytest.raises(errors.TransientError):
        list(make_client(ScriptedFly(answer(200, {"apps": [], "next_cursor": {"at": 1}}))).list_apps())


def test_an_apps_machines_are_read_to_the_last_page():
    """Fly sends all at once; should it page after all, no machine is missing, and a repeated page is an error."""
    pages = [answer(200, [MACHINE | {"id": ID}], fly_next_cursor="c1"), answer(200, [MACHINE | {"id": "d8"}])]
    fly = ScriptedFly(*pages)
    assert [machine.id for machine in make_client(fly).list_machines(APP)] == [ID, "d8"]
    assert fly.paths[1].endswith("?limit=1000&cursor=c1")
    with pytest.raises(errors.TransientError, match="repeats a page"):
        make_client(ScriptedFly(pages[0])).list_machines(APP)


@pytest.mark.parametrize("answer_body", [[MACHINE], [], "null"])
def test_an_apps_machines_are_a_bare_list(answer_body):
    """Go writes an empty list as null."""
    fly = ScriptedFly(answer(200, answer_body))
    assert len(make_client(fly).list_machines(APP)) == (1 if answer_body == [MACHINE] else 0)


def test_the_affinity_cookie_stays_with_its_app():
    """Later calls for an app reach the node that created it. Calls for other apps do not carry its cookie."""
    cookie = f"fly_flaps_affinity=node-1; Path=/v1/apps/{APP}"
    fly = ScriptedFly(answer(201, {"id": "1"}, set_cookie=cookie), answer(200, MACHINE))
    client = make_client(fly)
    client.create_app(APP, "n", "k")
    client.get_machine(APP, ID)
    client.get_machine("another-app", ID)
    client.delete_app(APP)
    client.get_machine(APP, ID)
    assert [each.headers.get("cookie") for each in fly.requests] == [
        None,
        "fly_flaps_affinity=node-1",
        None,
        "fly_flaps_affinity=node-1",
        None,
    ]


def test_cookies_are_kept_for_the_latest_apps_only():
    """The number of cookie jars is bounded for a fleet of any size."""
    jars = AppCookies()
    first = jars.of("app-0")
    for number in range(2000):
        jars.of(f"app-{number}")
    assert len(jars._jars) <= 600
    assert jars.of("app-0") is not first


@pytest.mark.parametrize(
    ("token", "header"),
    [
        ("FlyV1 fm2_abc,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("fm2_abc,fm2_def", "FlyV1 fm2_abc,fm2_def"),
        ("fm1r_abc", "FlyV1 fm1r_abc"),
        ("Bearer abc", "Bearer abc"),
        ("abc", "Bearer abc"),
    ],
)
def test_the_scheme_follows_the_token(token, header):
    """Macaroons use the scheme FlyV1, other tokens Bearer. A given scheme is kept."""
    assert format_authorization(token) == header
    fly = ScriptedFly(answer(200, MACHINE))
    make_client(fly, token=f" {token}\n").get_machine(APP, ID)
    assert fly.requests[0].headers["authorization"] == header


@pytest.mark.parametrize("bad", ["", "  ", "canary\ntoken", "canary\u00e9", "canary\x00"])
def test_a_token_that_no_header_can_hold_is_refused_without_showing_it(bad):
    """HTTP libraries quote a bad header in their errors, so the client refuses it first."""
    with pytest.raises(ValueError, match="FLY_API_TOKEN") as caught:
        FlyClient("https://fly.test", bad, org_slug="acme")
    assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "reply",
    [
        answer(401, error_body(f"Authenticate: token {TOKEN} is bad")),
        answer(500, f"<html>Authorization: FlyV1 {TOKEN}</html>"),
        httpx.ReadTimeout(f"while sending FlyV1 {TOKEN}"),
        httpx.LocalProtocolError(f"Illegal header value b'FlyV1 {TOKEN}'"),
    ],
)
def test_the_token_is_in_no_error_no_repr_and_no_log(reply, caplog):
    """It is not in str, repr, args, the log, or any variable that a traceback with locals prints."""
    caplog.set_level(logging.DEBUG)
    client = make_client(ScriptedFly(reply))
    with pytest.raises(errors.HangarError) as caught:
        client.get_machine(APP, ID)
    error = caught.value
    chain = "".join(traceback.format_exception(error))
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    variables = "".join(str(frame.locals) for frame in frames if "/shared/" in frame.filename)
    for text in (
        str(error),
        repr(error),
        str(error.args),
        repr(client),
        repr(client._link),
        caplog.text,
        chain,
        variables,
    ):
        assert "canary" not in text


class Chatty(httpx.BaseTransport):
    """Fails as an HTTP library does: one error from another, in frames that hold the request's headers."""

    def handle_request(self, request):
        held = request.headers.raw
        try:
            raise BrokenPipeError(f"{len(held)} headers")  # noqa: TRY301  imitates the library
        except BrokenPipeError as broken:
            raise httpx.WriteError("broken pipe") from broken


def test_a_failure_of_the_network_keeps_its_cause_without_its_frames():
    """An error reporter that prints local variables must not find the headers in the library's frames."""
    with make_client(Chatty()) as client, pytest.raises(errors.OutcomeUnknown) as caught:
        client.start_machine(APP, ID)
    assert isinstance(caught.value.__cause__, httpx.WriteError)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "canary" not in "".join(shown.format())


@pytest.mark.parametrize("part", ["", "..", "a/b", "a?force=true", "a b", "-x", "é"])
def test_a_part_that_would_change_the_path_is_an_internal_error(part):
    """An empty machine id would address the app itself. No request is sent."""
    fly = ScriptedFly(answer(200))
    client = make_client(fly)
    for act in (
        lambda: client.destroy_machine(APP, part),
        lambda: client.delete_app(part),
        lambda: client.get_app(part),
    ):
        with pytest.raises(errors.InternalError):
            act()
    assert fly.requests == []


def test_threads_reuse_connections_but_never_share_one_at_once():
    """There are as many clients as concurrent calls. Later threads reuse them. All share one TLS context."""
    together = threading.Barrier(4)

    class Meeting(ScriptedFly):
        def handle_request(self, request):
            together.wait(timeout=30)
            return super().handle_request(request)

    fly = make_client(Meeting(answer(200, MACHINE)))
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: fly.get_machine(APP, ID), range(8)))
    assert len(fly._link._idle) == 4
    fly.close()
    assert len(fly._link._idle) == 0
    assert get_tls_context() is get_tls_context()
