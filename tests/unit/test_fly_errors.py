"""Which error each response of Fly becomes. The texts are those that Fly sends."""

import httpx
import pytest

from shared.adapters.http_client import parse_retry_after
from shared.domain import errors
from shared.fly.errors import classify_answer
from shared.fly.messages import Request, Response, read_answer
from shared.observability.redaction import EXCERPT_CHARS, hide_secrets
from tests.unit.scripted_fly import ScriptedFly, answer, error_body, make_client

APP, ID = "vyx-user-0a1b2c3d", "148e1234c56789"


def create_app(fly):
    fly.create_app(APP, "net-1", "key-1")


def get_app(fly):
    fly.get_app(APP)


def create_machine(fly):
    fly.create_machine(APP, f"{APP}-main", "fra", {"image": "x"})


def update_machine(fly):
    fly.update_machine(APP, ID, {"image": "x"}, "01V")


def start_machine(fly):
    fly.start_machine(APP, ID)


def get_machine(fly):
    fly.get_machine(APP, ID)


def list_org(fly):
    list(fly.list_org_machines())


def list_apps(fly):
    list(fly.list_apps())


TAKEN = "Validation failed: Name has already been taken"
BAD_NAME = "Validation failed: Name under 63 chars using numbers, lowercase letters and dashes"
DUPLICATE = f'already_exists: unique machine name violation, machine ID {ID} already exists with name "{APP}-main"'
QUOTA = 'organization "X" is using 9 MB of memory in dfw which is over the allowed quota. please consider other regions'
HOST_FULL = "aborted: could not reserve resource for machine: insufficient memory available to fulfill request"
CONCURRENT = "aborted: machine update failed due to concurrent update"
LEASED = f"machine ID {ID} lease currently held by x@tokens.fly.io, expires at 2026-11-22T10:00:00Z"
MAINTENANCE = "unavailable: deploys to this host are temporarily disabled, please try later"
ACTIVE = "failed_precondition: machine still active, refusing to start"
REPLACED = "failed_precondition: machine getting replaced, refusing to start"
CREATED = "failed_precondition: unable to start machine from current state: 'created'"
DESTROYED = "failed_precondition: unable to start machine from current state: 'destroyed'"
VOLUME_FULL = "insufficient resources to create new machine with existing volume id 'vol_1'"
SMALL = "invalid config.guest.memory_mb, minimum required 4096 MiB"

ROWS = [
    # create app
    (create_app, 422, error_body(TAKEN, "name_taken"), errors.NameTaken, "name_taken"),
    (create_app, 422, error_body(TAKEN), errors.NameTaken, "name_taken"),
    (create_app, 422, error_body("uniqueness constraint violated"), errors.NameTaken, "name_taken"),
    (create_app, 409, error_body("whatever"), errors.NameTaken, "name_taken"),
    (create_app, 422, error_body(BAD_NAME), errors.Refused, "name"),
    (create_app, 400, error_body("EOF"), errors.Refused, "refused"),
    (create_app, 401, error_body("Authenticate: token validation error"), errors.Refused, "token"),
    (create_app, 403, error_body("unauthorized"), errors.Refused, "token"),
    (create_app, 404, error_body("organization not found"), errors.Refused, "org"),
    (create_app, 408, None, errors.OutcomeUnknown, "outcome_unknown"),
    (create_app, 500, "<html>oops</html>", errors.OutcomeUnknown, "outcome_unknown"),
    # get app
    (get_app, 404, error_body("app not found"), errors.NotFound, "gone"),
    (get_app, 410, None, errors.NotFound, "gone"),
    (get_app, 404, "404 page not found", errors.TransientError, "not_fly"),
    (get_app, 404, "<html>not found</html>", errors.TransientError, "not_fly"),
    (get_app, 403, error_body("unauthorized"), errors.NotOwned, "not_owned"),
    (get_app, 401, error_body("invalid token"), errors.Refused, "token"),
    (get_app, 503, error_body("unavailable: try again"), errors.TransientError, "unavailable"),
    (get_app, 301, None, errors.Refused, "unsupported"),
    # create machine
    (create_machine, 409, error_body(DUPLICATE), errors.Conflict, "exists"),
    (
        create_machine,
        422,
        error_body("could not find a candidate host", "insufficient_capacity"),
        errors.Capacity,
        "region_full",
    ),
    (create_machine, 409, error_body("aborted: no capacity"), errors.Capacity, "region_full"),
    (create_machine, 503, error_body("out of capacity", "insufficient_capacity"), errors.Capacity, "region_full"),
    (create_machine, 503, error_body("out of capacity"), errors.Capacity, "region_full"),
    (create_machine, 412, error_body(VOLUME_FULL, "volume_placement_capacity"), errors.Capacity, "volume"),
    (create_machine, 412, error_body(VOLUME_FULL), errors.Capacity, "host"),
    (create_machine, 400, error_body("no capacity"), errors.Capacity, "region_full"),
    (create_machine, 403, error_body(QUOTA), errors.Capacity, "quota"),
    (create_machine, 403, error_body("unauthorized"), errors.NotOwned, "not_owned"),
    (
        create_machine,
        400,
        error_body("To create more than 1 machine per app please add a payment method."),
        errors.Refused,
        "billing",
    ),
    (create_machine, 400, error_body(SMALL), errors.Refused, "size"),
    (create_machine, 400, error_body(f"invalid_argument: {SMALL}"), errors.Refused, "size"),
    (create_machine, 400, error_body("could not resolve image registry.fly.io/x:y"), errors.Refused, "image"),
    (create_machine, 422, error_body("MANIFEST_UNKNOWN"), errors.Refused, "image"),
    (create_machine, 404, error_body("app not found"), errors.NotFound, "gone"),
    (create_machine, 408, error_body("deadline_exceeded: request timed out"), errors.OutcomeUnknown, "outcome_unknown"),
    (create_machine, 400, error_body("deadline_exceeded: request timed out"), errors.OutcomeUnknown, "outcome_unknown"),
    (create_machine, 502, None, errors.OutcomeUnknown, "outcome_unknown"),
    (create_machine, 504, "<html>", errors.OutcomeUnknown, "outcome_unknown"),
    (create_machine, 500, error_body("unknown: internal"), errors.OutcomeUnknown, "outcome_unknown"),
    (create_machine, 501, error_body("not implemented"), errors.Refused, "unsupported"),
    (create_machine, 429, error_body("rate limit exceeded"), errors.TransientError, "rate_limited"),
    (create_machine, 400, error_body("volume not found"), errors.Refused, "refused"),
    # update, start
    (update_machine, 409, error_body(HOST_FULL), errors.Capacity, "host"),
    (start_machine, 409, error_body(HOST_FULL), errors.Capacity, "host"),
    (create_machine, 409, error_body(HOST_FULL), errors.Capacity, "region_full"),
    (update_machine, 409, error_body(CONCURRENT), errors.TransientError, "leased"),
    (update_machine, 409, None, errors.Conflict, "conflict"),
    (update_machine, 409, error_body(LEASED), errors.TransientError, "leased"),
    (update_machine, 503, error_body(MAINTENANCE), errors.Capacity, "host"),
    (update_machine, 412, error_body("volume already claimed by machine 1"), errors.TransientError, "settling"),
    (start_machine, 412, error_body(CREATED), errors.TransientError, "settling"),
    (start_machine, 412, error_body(REPLACED), errors.TransientError, "settling"),
    (start_machine, 412, error_body(ACTIVE), errors.TransientError, "settling"),
    (start_machine, 412, error_body(DESTROYED), errors.NotFound, "gone"),
    (get_machine, 404, error_body("not_found: machine not found"), errors.NotFound, "gone"),
    (get_machine, 404, error_body("invalid machine ID, 'x'"), errors.NotFound, "gone"),
    (get_machine, 408, None, errors.TransientError, "unavailable"),
    # listings
    (list_org, 403, error_body("unauthorized"), errors.Refused, "token"),
    (list_org, 404, error_body("organization not found"), errors.Refused, "org"),
    (list_apps, 404, None, errors.Refused, "org"),
    (list_apps, 500, None, errors.TransientError, "unavailable"),
]


# What Fly says when it refuses the organisation, from public reports; the status is one of several that Fly uses for each.
WORDS = {
    "billing": (
        (403, "organization is suspended: pay the open invoice"),
        (422, "We require your organization to have a payment method on file. Please add a credit card."),
        (403, "Your trial has ended. Please add a credit card by visiting https://fly.io/trial to continue."),
        (412, "failed_precondition: organization suspended"),
        (402, "whatever"),
        (402, None),
        (403, "account has an overdue balance"),
        (401, "Authenticate: your account is suspended for unpaid invoices"),
        (409, "aborted: unpaid invoice"),
    ),
    "quota": (
        (
            422,
            "Your organization has reached its machine limit. Please contact billing@fly.io to increase your limits.",
        ),
        (403, "You have exceeded the limit of 10 apps for this organization"),
        (400, "maximum number of machines reached"),
        (422, "app limit reached for organization acme"),
        (412, "failed_precondition: quota exceeded: performance CPUs"),
        (403, "trial organizations are limited to 10 machines"),
    ),
    "policy": (
        (403, "Your Fly.io account has been marked as high risk. Please verify your account."),
        (422, "Your organization is high-risk: go to https://fly.io/high-risk-unlock"),
        (403, "account is not verified"),
        (403, "account has been blocked for abuse; billing is not affected"),
        (403, "this app violates our terms of service"),
    ),
}
CALLS = [create_app, create_machine, update_machine, start_machine, get_app, get_machine, list_org, list_apps]


@pytest.mark.parametrize("act", CALLS)
@pytest.mark.parametrize(
    ("status", "text", "code"), [(status, text, code) for code, rows in WORDS.items() for status, text in rows]
)
def test_a_refusal_of_the_organisation_has_its_code_and_flys_words_on_every_call(act, status, text, code):
    """C1, C2: the words decide, not the call and not the status. Fly's words stay in the message."""
    with (
        make_client(ScriptedFly(answer(status, text and error_body(text)))) as fly,
        pytest.raises(errors.Refused) as caught,
    ):
        act(fly)
    assert caught.value.code == code
    assert text is None or text in str(caught.value)


@pytest.mark.parametrize("text", ["", "forbidden", "access denied", "this app is locked", "no"])
@pytest.mark.parametrize("act", [create_machine, update_machine, start_machine, get_app, get_machine])
def test_a_403_that_nobody_knows_is_not_a_strangers_app(act, text):
    """Only Fly's own words say that an app is not ours: everything else is a refusal, which destroys and renames nothing."""
    with make_client(ScriptedFly(answer(403, error_body(text)))) as fly, pytest.raises(errors.Refused) as caught:
        act(fly)
    assert caught.value.code == "refused"


@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (400, "invalid config.guest.memory_mb, exceeds the limit of 2048 MiB", "size"),
        (400, "invalid guest: maximum number of cpus is 8", "size"),
        (403, "unauthorized: authentication required to pull image registry.fly.io/x:y", "image"),
        (403, "token expired", "token"),
        (400, "invalid config.restart.policy", "refused"),
        (403, "rate limit exceeded", "rate_limited"),
    ],
)
def test_a_fault_of_the_request_is_not_taken_for_one_of_the_organisation(status, text, code):
    """One plan's size is not the organisation's quota, and one image's login is not our token."""
    with make_client(ScriptedFly(answer(status, error_body(text)))) as fly, pytest.raises(errors.HangarError) as caught:
        create_machine(fly)
    assert caught.value.code == code


# Words by which Fly refuses an organisation. Here they are parts of names.
WORDS = (
    "billing",
    "payment",
    "payments",
    "invoice",
    "quota",
    "unpaid",
    "overdue",
    "abuse",
    "token",
    "fraud",
    "credit-card",
)


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize(
    ("status", "text", "code"),
    [
        (422, "failed to get manifest registry.fly.io/{word}-app:v7: MANIFEST_UNKNOWN", "image"),
        (422, "manifest for ghcr.io/acme/{word}:v1 not found", "image"),
        (400, "could not find image {word}-app", "image"),
        (403, "unauthorized: authentication required to pull image acme/{word}:v1", "image"),
        (
            409,
            "already_exists: unique machine name violation, machine ID 1 already exists with name {word}-user-1-main",
            "exists",
        ),
        (409, "already_exists: {word}-user-1", "exists"),
        (403, "app {word}-user-1a2b3c4d is owned by another organization", "not_owned"),
        (422, "machine {word}-user-1a2b3c4d-main: invalid config.checks.ready.interval", "refused"),
        (422, "cannot start registry.fly.io/{word}-app:v7 on {word}-user", "refused"),
    ],
)
def test_a_word_in_a_name_says_nothing_about_the_organisation(word, status, text, code):
    """Fly repeats the names of apps and images. An image called "billing-app" is not an open invoice."""
    body = {"name": f"{word}-user-1-main", "config": {"image": f"registry.fly.io/{word}-app:v7"}}
    call = Request("create", "POST", f"/v1/apps/{word}-user/machines", f"{word}-user", body=body)
    assert classify_answer(call, Response(status, {"error": text.format(word=word)}, "", None)).code == code


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{app} cannot be created: your organization has unpaid invoices", "billing"),
        ("Please add a payment method before you deploy registry.fly.io/payments:v1 to {app}", "billing"),
        ("Your trial has ended. Add a credit card at https://fly.io/dashboard/acme/billing to create {app}", "billing"),
        ("See https://fly.io/dashboard/acme/billing", "billing"),
        ("{app}: organization has reached its limit of 50 machines", "quota"),
        ("image registry.fly.io/quota:v1: this organization is over its quota of 100 GB", "quota"),
        ("{app} was blocked by our policy: verify your account", "policy"),
        ("environment exceeds the limit of 64 KB", "refused"),
        ("config.env is too large: at most 65536 bytes", "refused"),
    ],
)
@pytest.mark.parametrize("app", ["vyx-user-1a2b", "payments-app", "quota-user-2", "our-policy"])
def test_a_word_beside_a_name_still_counts(app, text, code):
    """The organisation's trouble is told, whatever the app or the image is called. One app's configuration is not its trouble."""
    call = Request(
        "create", "POST", f"/v1/apps/{app}/machines", app, body={"config": {"image": "registry.fly.io/x:v1"}}
    )
    assert classify_answer(call, Response(422, {"error": text.format(app=app)}, "", None)).code == code


@pytest.mark.parametrize(("act", "status", "body", "kind", "code"), ROWS)
def test_each_answer_leads_to_one_reaction(act, status, body, kind, code):
    """One HTTP status has several meanings. Fly's status word, the prefix and the text decide, in that order."""
    with make_client(ScriptedFly(answer(status, body))) as fly, pytest.raises(errors.HangarError) as caught:
        act(fly)
    error = caught.value
    assert (type(error), error.code) == (kind, code)
    assert (error.status, error.fly_request_id) == (status, "01TEST-fra")
    assert "01TEST-fra" in str(error)
    assert APP in str(error) or act in (list_org, list_apps)


def test_a_duplicate_machine_names_the_one_to_adopt():
    """The 409 of a name in use carries the id of the machine that holds it."""
    with pytest.raises(errors.Conflict) as caught:
        create_machine(make_client(ScriptedFly(answer(409, error_body(DUPLICATE)))))
    assert caught.value.machine_id == ID


@pytest.mark.parametrize("act", [create_app, create_machine, update_machine, start_machine])
@pytest.mark.parametrize("failure", [httpx.ReadTimeout("slow"), httpx.ReadError(""), httpx.RemoteProtocolError("cut")])
def test_a_write_without_an_answer_may_have_happened(act, failure):
    """Without a response, a request that was sent may or may not have taken effect."""
    with pytest.raises(errors.OutcomeUnknown) as caught:
        act(make_client(ScriptedFly(failure)))
    assert type(failure).__name__ in str(caught.value)
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ConnectTimeout(""), httpx.PoolTimeout("")])
def test_a_write_that_was_not_sent_is_a_transient_error(failure):
    """Without a connection the call cannot have had an effect."""
    with pytest.raises(errors.TransientError) as caught:
        create_machine(make_client(ScriptedFly(failure)))
    assert (type(caught.value), caught.value.code) == (errors.TransientError, "unreachable")


def test_a_read_without_an_answer_is_a_transient_error():
    """A read has no effect, so it is repeated later."""
    with pytest.raises(errors.TransientError) as caught:
        get_machine(make_client(ScriptedFly(httpx.ReadTimeout("slow"))))
    assert type(caught.value) is errors.TransientError


@pytest.mark.parametrize("body", ["<html>ok</html>", "{", {"id": ""}, [], None])
def test_a_success_that_cannot_be_read_is_an_unknown_outcome(body):
    """A 200 without a machine in it shows that the call took effect, but not with which result."""
    with pytest.raises(errors.OutcomeUnknown):
        create_machine(make_client(ScriptedFly(answer(200, body))))


def test_a_long_body_is_cut():
    """A message repeats at most 256 characters of Fly's response."""
    with pytest.raises(errors.Refused) as caught:
        create_machine(make_client(ScriptedFly(answer(400, error_body("z" * 5000)))))
    assert 200 < str(caught.value).count("z") <= EXCERPT_CHARS


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("7", None, 7.0),
        ("0", None, 0.0),
        ("Sun, 22 Nov 2026 10:00:30 GMT", "Sun, 22 Nov 2026 10:00:10 GMT", 20.0),
        ("Sun, 22 Nov 2026 10:00:00 GMT", "Sun, 22 Nov 2026 10:00:10 GMT", 0.0),
        ("Sun, 22 Nov 2026 10:00:30 GMT", None, None),
        ("soon", None, None),
        ("-5", None, None),
        ("1e9", None, None),
        (None, None, None),
    ],
)
def test_retry_after_is_read_in_both_forms(value, date, seconds):
    """The header holds seconds, or a date relative to the response's own date. Invalid values are ignored."""
    assert parse_retry_after(value, date) == seconds


def test_secrets_are_hidden_whole_and_in_parts():
    """Every part of a token with several macaroons is hidden."""
    assert "canary" not in hide_secrets(
        "got fm2_canary1 of 'FlyV1 fm2_canary1,fm2_canary2'", ("FlyV1 fm2_canary1,fm2_canary2",)
    )


@pytest.mark.parametrize(
    "credential",
    [
        "eyJhbGciOiJFUzI1NiJ9.eyJjYW5hcnkiOjF9.c2ln",
        "sb_secret_canary",
        "whsec_canary",
        "FlyV1 canary",
        "fm2_canary",
        "Bearer canary00",
    ],
)
def test_an_answers_credentials_do_not_enter_a_message(credential):
    """Includes credentials unknown to the client, and those that the cut at 256 characters would split."""
    for distance in (0, 240):
        call, answer = (
            Request("create", "POST", "/v1/apps"),
            Response(422, None, "x" * distance + f" {credential}", None),
        )
        message = str(classify_answer(call, answer))
        assert "canary" not in message
        assert "eyJ" not in message


def test_a_known_secret_is_hidden_in_every_call():
    """A machine's secrets are also hidden in the response to another call."""
    call, answer = Request("create", "POST", "/v1/apps"), Response(422, None, "no EXCHANGE_KEY=canary-machine", None)
    assert "canary" not in str(classify_answer(call, answer, ("token-1", "canary-machine")))


@pytest.mark.parametrize(
    "header", ["fm2_canary", "FlyV1 canary", "canary canary", "canary" * 20, "canary-token", "canary\\n"]
)
def test_a_malformed_request_id_is_dropped(header):
    """The id is stored with events and shown to callers, and a proxy could put a token into the header."""
    response = httpx.Response(500, headers={"fly-request-id": header})
    assert read_answer(response, ("canary-token",)).request_id is None
    good = httpx.Response(500, headers={"fly-request-id": "01JD2N4V3X0PZ4K5QZJ3A0W8X7-sin"})
    assert read_answer(good).request_id == "01JD2N4V3X0PZ4K5QZJ3A0W8X7-sin"


def test_error_classes_do_not_overlap():
    """Catching one class never catches another, except that an unknown outcome is also a transient error."""
    branches = [
        errors.TransientError,
        errors.Capacity,
        errors.Conflict,
        errors.NameTaken,
        errors.NotOwned,
        errors.NotFound,
        errors.Refused,
    ]
    for one in [*branches, errors.InternalError]:
        assert one.__bases__ == (errors.HangarError,)
    assert errors.OutcomeUnknown.__bases__ == (errors.TransientError,)
