"""A small OCI registry on this machine, whose images and faults a test chooses."""

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from local.http_server import Request, Response, Server

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
TOKEN = "registry-token-of-a-test"


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class LoopbackRegistry:
    """Serves what was pushed. `requests` are all that arrived.

    `challenge` is the WWW-Authenticate of a 401 (`{url}` is this registry), and `accepts` the Authorization that opens it.
    `answer_all` answers every request of the registry API, `wait_s` delays each one. `headers` are added to manifests;
    None removes one. `redirect_blobs` and `redirect_manifests` are where those requests are sent.
    """

    challenge: str | None = None
    accepts: str = f"Bearer {TOKEN}"
    refusal_code: str = "UNAUTHORIZED"
    token_answer: Response | None = None
    answer_all: Response | None = None
    wait_s: float = 0
    headers: dict[str, str | None] = field(default_factory=dict)
    redirect_manifests: str | None = None
    redirect_blobs: str | None = None
    requests: list[Request] = field(default_factory=list)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._server, self._ended = Server(self._receive), threading.Event()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.port}"

    def push(self, name: str, platform: str = "amd64/linux") -> str:
        """Push an image for one platform, as `repository:tag`. Returns its digest."""
        architecture, system = platform.split("/")
        config = json.dumps({"architecture": architecture, "os": system, "made_for": name}).encode()
        self.blobs[digest_of(config)] = config
        layer = {"mediaType": CONFIG, "digest": digest_of(config), "size": len(config)}
        return self.put(name, MANIFEST, {"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": []})

    def push_index(self, name: str, *platforms: str, named: bool = True) -> str:
        """Push one image for several platforms. With `named=False` the index does not say which they are."""
        entries = []
        for platform in platforms:
            architecture, system = platform.split("/")
            entry: dict[str, Any] = {
                "mediaType": MANIFEST,
                "size": 1,
                "digest": self.push(f"{name}-{architecture}", platform),
            }
            if named:
                entry["platform"] = {"architecture": architecture, "os": system}
            entries.append(entry)
        return self.put(name, INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    def put(self, name: str, media_type: str, document: Mapping[str, Any]) -> str:
        """Put this manifest under a tag and its digest."""
        body = json.dumps(document).encode()
        repository, _, tag = name.rpartition(":")
        for reference in (tag, digest_of(body)):
            self.manifests[f"{repository}/{reference}"] = (media_type, body)
        return digest_of(body)

    def list_carried(self) -> list[tuple[str, str]]:
        """Path and Authorization of the requests that carried one."""
        return [(each.path, each.headers["authorization"]) for each in self.requests if "authorization" in each.headers]

    def _receive(self, request: Request) -> Response:
        self.requests.append(request)
        if request.path == "/token":
            body = json.dumps({"token": TOKEN}).encode()
            return self.token_answer or Response(200, body, {"Content-Type": "application/json"})
        self._ended.wait(self.wait_s)
        if self.answer_all is not None:
            return self.answer_all
        if self.challenge is not None and request.headers.get("authorization") != self.accepts:
            challenge = self.challenge.replace("{url}", self.url)
            return _refuse(401, self.refusal_code, {"WWW-Authenticate": challenge})
        repository, _, rest = request.path.removeprefix("/v2/").rpartition("/manifests/")
        if repository:
            return self._answer_manifest(request.path, f"{repository}/{rest}")
        if self.redirect_blobs is not None:
            return Response(307, headers={"Location": f"{self.redirect_blobs}{request.path}"})
        blob = self.blobs.get(request.path.rpartition("/blobs/")[2])
        return _refuse(404, "BLOB_UNKNOWN") if blob is None else Response(200, blob)

    def _answer_manifest(self, path: str, name: str) -> Response:
        if self.redirect_manifests is not None:
            return Response(307, headers={"Location": f"{self.redirect_manifests}{path}"})
        if name not in self.manifests:
            return _refuse(404, "MANIFEST_UNKNOWN")
        media_type, body = self.manifests[name]
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(body), **self.headers}
        return Response(200, body, {key: value for key, value in headers.items() if value is not None})


def _refuse(status: int, code: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status, json.dumps({"errors": [{"code": code}]}).encode(), headers or {})
