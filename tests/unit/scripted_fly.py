"""A Fly that answers from a list. It replaces the httpx transport of the real client."""

import json

import httpx

from shared.fly.client import FlyClient

TOKEN = "fm2_canaryPartOne,fm2_canaryPartTwo"


def error_body(error, status=None):
    """Fly's error body."""
    return {"error": error} | ({"status": status} if status else {})


def answer(status, body=None, **headers):
    """One response. A dict or list is sent as JSON, a text unchanged."""
    headers = {"fly-request-id": "01TEST-fra"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, str):
        return httpx.Response(status, text=body, headers=headers)
    return httpx.Response(status, headers=headers, **({} if body is None else {"json": body}))


class ScriptedFly(httpx.BaseTransport):
    """Gives each request the next of `answers`, and repeats the last one. An exception is raised."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def handle_request(self, request):
        self.requests.append(request)
        reply = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)

    @property
    def bodies(self):
        return [json.loads(each.content) if each.content else None for each in self.requests]

    @property
    def paths(self):
        return [f"{each.method} {each.url.raw_path.decode()}" for each in self.requests]


class Time:
    """A clock that advances only by sleeping."""

    def __init__(self):
        self.now = 1000.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def clock(self):
        return self.now


def make_client(fly, time=None, *, token=TOKEN):
    time = time or Time()
    return FlyClient(
        "https://fly.test",
        token,
        org_slug="acme",
        transport=fly,
        sleep=time.sleep,
        clock=time.clock,
    )
