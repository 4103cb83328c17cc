"""The best-effort call: what is sent, to whom, how signed, and how much of it."""

import base64
import hashlib
import hmac
import json
import time

import pytest

pytestmark = pytest.mark.every_postgres

URL = "http://127.0.0.1:9/functions"
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

LONG_MESSAGE = (
    "5468697320697320612074657374207573696e672061206c6172676572207468616e20626c6f636b2d73697a65206b657920616e642061206c61"
    "72676572207468616e20626c6f636b2d73697a6520646174612e20546865206b6579206e6565647320746f20626520686173686564206265666f"
    "7265206265696e6720757365642062792074686520484d414320616c676f726974686d2e"
)
RFC_4231 = [
    ("0b" * 20, "4869205468657265", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (
        "4a656665",
        "7768617420646f2079612077616e7420666f72206e6f7468696e673f",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (
        "0102030405060708090a0b0c0d0e0f10111213141516171819",
        "cd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
    (
        "aa" * 131,
        "54657374205573696e67204c6172676572205468616e20426c6f636b2d53697a65204b6579202d2048617368204b6579204669727374",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    ("aa" * 131, LONG_MESSAGE, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"),
]


@pytest.mark.parametrize(("key", "message", "digest"), RFC_4231)
def test_hmac_vectors(common, key, message, digest):
    """RFC 4231, cases 1 to 4, 6 and 7 (5 is about truncation, which is not used)."""
    query = "select encode(hangar.hmac_sha256(decode(%s, 'hex'), decode(%s, 'hex')), 'hex')"
    assert common.one(query, key, message) == digest


def test_hmac_of_every_key_length(common):
    """Around the block size, against Python's own."""
    for length in (0, 1, 63, 64, 65, 200):
        key = bytes(n % 256 for n in range(length))
        expected = hmac.new(key, b"body", hashlib.sha256).digest()
        assert common.one("select hangar.hmac_sha256(%s, 'body')", key) == expected


def change(hangar, *users, tier="pro"):
    """The host's own statement, whose marks nobody takes."""
    hangar.sql("update user_subscriptions set tier = %s where user_id = any(%s)", tier, list(users))


def test_a_change_calls_health_signed(hangar):
    """Standard Webhooks over the very bytes that are sent, the user in the body, one second at most."""
    user = hangar.user()
    hangar.fill_vault(URL, SECRET)
    change(hangar, user)
    [sent] = hangar.queued()
    assert sent["url"] == f"{URL}/health"
    assert json.loads(sent["body"]) == {"drain_only": True, "user_ids": [str(user)]}
    assert sent["timeout_milliseconds"] == 1000
    headers = sent["headers"]
    assert headers["Content-Type"] == "application/json"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{sent['body']}".encode()
    digest = hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60


def test_signing_time_is_real_time(hangar):
    """The receiver compares with its own clock, so a shifted hangar.now() may not be in the signature."""
    user = hangar.user()
    hangar.fill_vault(URL, SECRET)
    hangar.shift_clock(86_400)
    change(hangar, user)
    [sent] = hangar.queued()
    assert abs(time.time() - int(sent["headers"]["webhook-timestamp"])) < 60


def test_one_url_for_each_function(hangar):
    """Cloud Run gives each service its own host name."""
    urls = {"provision": "https://p.example.test", "health": "https://h.example.test/x"}
    user = hangar.user()
    hangar.fill_vault(json.dumps(urls), SECRET)
    change(hangar, user)
    hangar.sql("select hangar.call_health(false)")
    assert [sent["url"] for sent in hangar.queued()] == [urls["health"]] * 2


@pytest.mark.parametrize(("count", "named"), [(1, 1), (5, 5), (6, 0), (40, 0)])
def test_one_call_for_each_statement(hangar, count, named):
    """Up to five users are named; more are one drain."""
    users = [hangar.user() for _ in range(count)]
    hangar.fill_vault(URL, SECRET)
    change(hangar, *users)
    [sent] = hangar.queued()
    assert len(json.loads(sent["body"]).get("user_ids", [])) == named


def test_five_calls_in_a_transaction_then_one_drain(hangar):
    """Many statements must not flood pg_net, which the host's webhooks share. Each transaction counts separately."""
    users = [hangar.user() for _ in range(12)]
    hangar.follow()
    hangar.fill_vault(URL, SECRET)
    with hangar.admin.transaction():
        for user in users:
            change(hangar, user)
    bodies = [json.loads(sent["body"]) for sent in hangar.queued()]
    assert bodies == [{"drain_only": True, "user_ids": [str(user)]} for user in users[:5]] + [{"drain_only": True}]
    assert hangar.marked() == set(users)
    change(hangar, users[0], tier="free")
    assert len(hangar.queued()) == 7


def test_no_call_for_a_change_that_says_nothing(hangar):
    """Neither a statement that changes nothing bound, nor our own writes, nor an UPDATE of no row is worth a call."""
    user = hangar.user("pro")
    hangar.fill_vault(URL, SECRET)
    change(hangar, user)
    change(hangar)
    hangar.sql("update user_subscriptions set updated_at = now()")
    hangar.sql("update user_fly_apps set machine_state = 'started', generation = generation + 1")
    hangar.claim(user)
    hangar.rpc("fly_sync_entitlements")
    assert hangar.queued() == []


def test_an_override_calls_health_for_its_user(hangar):
    """An operator's decision is acted on at once too."""
    user = hangar.user()
    hangar.fill_vault(URL, SECRET)
    hangar.rpc("fly_set_override", user=user, override="grant", plan="pro", actor="test", reason="test")
    [sent] = hangar.queued()
    assert json.loads(sent["body"]) == {"drain_only": True, "user_ids": [str(user)]}


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        (None, SECRET, "hangar_functions_url"),
        (URL, None, "hangar_webhook_secret"),
        (URL, "not a secret", "hangar_webhook_secret"),
        ("env(HANGAR_FUNCTIONS_URL)", SECRET, "hangar_functions_url"),
        (None, None, "hangar_functions_url and hangar_webhook_secret"),
    ],
)
def test_missing_setting_is_one_alert_and_no_call(hangar, url, secret, said):
    """No unsigned call and none without a URL. The scheduled call reports what is missing, once until it is fixed."""
    for name, value in (("hangar_functions_url", url), ("hangar_webhook_secret", secret)):
        if value:
            hangar.sql("select vault.create_secret(%s, %s)", value, name)
    hangar.user("pro")
    for _ in range(2):
        assert hangar.one("select hangar.call_health(true)") is None
    assert hangar.queued() == []
    [alert] = hangar.sql("select message, times from hangar.alerts")
    assert said in alert["message"]
    assert alert["times"] == 2
    for name, value in (("hangar_functions_url", URL), ("hangar_webhook_secret", SECRET)):
        hangar.sql("delete from vault.secrets where name = %s", name)
        hangar.sql("select vault.create_secret(%s, %s)", value, name)
    assert hangar.one("select hangar.call_health(true)") is not None
    assert hangar.one("select count(*) from hangar.alerts where resolved_at is null") == 0


def test_schedule_calls_health(hangar):
    """Both jobs run as the migrations' role and send what health expects."""
    hangar.fill_vault(URL, SECRET)
    owner = hangar.connect(hangar.url, "postgres")
    for job in hangar.sql("select command from cron.job order by jobname"):
        owner.execute(job["command"])
    assert [(sent["url"], json.loads(sent["body"])) for sent in hangar.queued()] == [
        (f"{URL}/health", {}),
        (f"{URL}/health", {"drain_only": True}),
    ]
