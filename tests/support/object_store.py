"""An S3 service over real HTTP (moto), with a relay in front of it on which a test cuts connections and changes answers."""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

from local.http_server import Request, Response, Server
from ops.archive.bucket import Bucket
from ops.archive.location import Location
from tests.kill.relay import LOST, forward

NAME = "archive"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "test-secret"}
Meet = Callable[[Request, Callable[[], Response]], Response]


@dataclass
class ObjectStore:
    """The service. `meet` sees every request that goes through the relay; `calls` are their methods and paths."""

    direct_url: str
    url: str = ""
    meet: Meet | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        """What an operator sets to use it."""
        return {"HANGAR_ARCHIVE_BUCKET": NAME, "HANGAR_ARCHIVE_ENDPOINT": self.url, **CREDENTIALS}

    def location(self, bucket: str = NAME) -> Location:
        return Location(bucket, "hangar/", self.url, "us-east-1")

    def bucket(self, name: str = NAME) -> Bucket:
        """A client as the archiver has it, through the relay. It waits for nothing between its attempts."""
        return Bucket(self.location(name), sleep=lambda _: None)

    def open_client(self):
        """A client of the test's own, past the relay."""
        return boto3.client(
            "s3", endpoint_url=self.direct_url, region_name="us-east-1", config=Config(proxies={}), **_as_arguments()
        )

    def objects(self) -> dict[str, bytes]:
        """Every object by its name."""
        client = self.open_client()
        names = [entry["Key"] for entry in client.list_objects_v2(Bucket=NAME).get("Contents", ())]
        return {name: client.get_object(Bucket=NAME, Key=name)["Body"].read() for name in names}

    def put(self, key: str, body: bytes) -> None:
        self.open_client().put_object(Bucket=NAME, Key=key, Body=body)

    def remove(self, key: str) -> None:
        self.open_client().delete_object(Bucket=NAME, Key=key)

    def handle(self, request: Request) -> Response:
        self.calls.append(f"{request.method} {request.path}")
        pass_on = lambda: forward(self.direct_url, request)  # noqa: E731
        return self.meet(request, pass_on) if self.meet else pass_on()


def _as_arguments() -> dict[str, str]:
    return {name.lower(): value for name, value in CREDENTIALS.items()}


@contextlib.contextmanager
def run_object_store() -> Iterator[ObjectStore]:
    """A service with one empty bucket."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    store = ObjectStore(f"http://{host}:{port}")
    relay = Server(store.handle).start()
    store.url = relay.url
    try:
        store.open_client().create_bucket(Bucket=NAME)
        for key in store.objects():  # moto keeps the objects of an earlier service of this process
            store.remove(key)
        yield store
    finally:
        relay.stop()
        moto.stop()


def lose_answers(*, times: int, of: str = "PUT", before: bool = False) -> Meet:
    """Cut the connection of the first `times` requests of a method: after the effect, or before it."""
    left = times

    def meet(request: Request, pass_on: Callable[[], Response]) -> Response:
        nonlocal left
        if request.method != of or left <= 0:
            return pass_on()
        left -= 1
        if not before:
            pass_on()
        return LOST

    return meet


def answer_error(status: int, code: str, *, times: int = 1_000_000, of: str = "PUT") -> Meet:
    """Refuse the first `times` requests of a method as S3 does."""
    left = times

    def meet(request: Request, pass_on: Callable[[], Response]) -> Response:
        nonlocal left
        if request.method != of or left <= 0:
            return pass_on()
        left -= 1
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{json.dumps(code)}</Message></Error>"
        return Response(status, body.encode(), {"content-type": "application/xml"})

    return meet
