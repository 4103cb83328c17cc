"""GET requests to an OCI registry: its token challenge, redirects, and limits on time and size.

Source: the OCI distribution specification 1.1, and the token authentication of the distribution project.
A credential is sent to the registry for which it is configured and to no other host, also not after a redirect.
"""

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx

from shared.adapters.http_client import is_loopback, make_client
from shared.domain.image_reference import ImageReference
from shared.observability.redaction import hide_secrets

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 10.0
MOST_REDIRECTS = 5
# The OCI specification lets a registry refuse larger manifests.
MOST_BYTES = 4 * 1024 * 1024
_MOST_TOKEN_BYTES = 64 * 1024
_PARAMETER = re.compile(r'([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_TOKEN = re.compile(r"[\x21-\x7e]{1,16384}", re.ASCII)


class NotReadableError(Exception):
    """The registry gave no usable answer. The text says why and contains neither a credential nor a URL's query."""


@dataclass(frozen=True)
class Answer:
    """One answer with its whole body."""

    status: int
    headers: httpx.Headers
    body: bytes


@dataclass
class RegistrySession:
    """The requests about one image. `credentials` are user and password by host, as in `host` or `host:port`.

    `ends_at` is the time of `time.monotonic` after which it gives up. `transport` replaces the network in tests.
    """

    reference: ImageReference
    credentials: Mapping[str, tuple[str, str]] = field(repr=False)
    ends_at: float
    transport: httpx.BaseTransport | None = None
    _authorization: str | None = field(default=None, repr=False)

    @property
    def base_url(self) -> str:
        """The registry's address. Only a registry on this machine is reached without TLS."""
        host = self.reference.api_host
        return f"http://{host}" if is_loopback(f"http://{host}") else f"https://{host}"

    def get(self, path: str, accept: str) -> Answer:
        """GET `/v2/<repository>/<path>`. A 401 is answered once with a token. Raises NotReadableError."""
        url = httpx.URL(f"{self.base_url}/v2/{self.reference.repository}/{path}")
        answer = self._follow(url, {"Accept": accept}, self._authorization, MOST_BYTES)
        if answer.status == httpx.codes.UNAUTHORIZED and self._authorization is None:
            self._authorization = self._authorize(answer.headers)
            if self._authorization is not None:
                answer = self._follow(url, {"Accept": accept}, self._authorization, MOST_BYTES)
        return answer

    def hide_credentials(self, text: str) -> str:
        """`text` without anything that was sent to open the registry, for an answer that echoes it."""
        password = self.credentials.get(self.reference.registry, ("", ""))[1]
        basic = self._basic_for(httpx.URL(self.base_url)) or ""
        sent = [password, *(value.partition(" ")[2] for value in (basic, self._authorization or ""))]
        return hide_secrets(text, tuple(each for each in sent if each))

    def _authorize(self, headers: httpx.Headers) -> str | None:
        """The value of `Authorization` that the challenge of a 401 asks for. None if it cannot be had."""
        challenges = ", ".join(headers.get_list("www-authenticate"))
        found = re.search(r"\bbearer\s+(.*)", challenges, re.IGNORECASE)
        if found is None:
            is_basic = re.match(r"basic\b", challenges, re.IGNORECASE) is not None
            return self._basic_for(httpx.URL(self.base_url)) if is_basic else None
        parameters: dict[str, str] = {}
        for name, quoted, plain in _PARAMETER.findall(found[1]):
            parameters.setdefault(name.lower(), quoted or plain)
        realm = self._parse_target(parameters.get("realm", ""), "the address of its token service")
        query = {"scope": parameters.get("scope") or f"repository:{self.reference.repository}:pull"}
        if parameters.get("service"):
            query["service"] = parameters["service"]
        return self._fetch_token(realm.copy_merge_params(query))

    def _fetch_token(self, url: httpx.URL) -> str | None:
        answer = self._follow(url, {"Accept": "application/json"}, self._basic_for(url), _MOST_TOKEN_BYTES)
        if answer.status != httpx.codes.OK:
            raise NotReadableError(f"its token service answered {answer.status}")
        try:
            document = json.loads(answer.body)
            token = document.get("token") or document.get("access_token")
        except (ValueError, AttributeError, RecursionError):
            token = None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise NotReadableError("its token service gave no token")
        return f"Bearer {token}"

    def _basic_for(self, url: httpx.URL) -> str | None:
        """The configured credential, if `url` is on the registry's own host and the credential is for that host."""
        known = self.credentials.get(self.reference.registry)
        if known is None or _get_origin(url) != _get_origin(httpx.URL(self.base_url)):
            return None
        return f"Basic {base64.b64encode(':'.join(known).encode()).decode()}"

    def _follow(self, url: httpx.URL, headers: dict[str, str], authorization: str | None, most_bytes: int) -> Answer:
        """GET `url` and where it is redirected to. The authorization stays with the host that it was made for."""
        begin = _get_origin(url)
        for _ in range(MOST_REDIRECTS + 1):
            carries = authorization is not None and _get_origin(url) == begin
            answer = self._get_once(
                url, {**headers, "Authorization": authorization or ""} if carries else headers, most_bytes
            )
            location = answer.headers.get("location")
            if answer.status not in (301, 302, 303, 307, 308) or location is None:
                return answer
            try:
                target = str(url.join(location))
            except httpx.InvalidURL:
                target = ""
            url = self._parse_target(target, "a redirect")
        raise NotReadableError(f"more than {MOST_REDIRECTS} redirects")

    def _parse_target(self, text: str, what: str) -> httpx.URL:
        """An address that the registry names. A registry elsewhere may not lead to this machine, or to plain HTTP.

        A registry on this machine may lead only to this machine, so that a local cloud sends no request elsewhere.
        """
        try:
            url = httpx.URL(text)
        except httpx.InvalidURL:
            url = httpx.URL()
        is_local = is_loopback(self.base_url)
        if url.scheme not in (("http", "https") if is_local else ("https",)) or not url.host or url.userinfo:
            raise NotReadableError(f"{what} is not https")
        if is_loopback(str(url)) != is_local:
            raise NotReadableError(f"{what} {'leaves' if is_local else 'leads to'} this machine")
        return url

    def _get_once(self, url: httpx.URL, headers: Mapping[str, str], most_bytes: int) -> Answer:
        left_s = self.ends_at - time.monotonic()
        if left_s <= 0:
            raise NotReadableError("no answer in time")
        timeout = httpx.Timeout(min(READ_TIMEOUT_S, left_s), connect=min(CONNECT_TIMEOUT_S, left_s))
        # A compressed answer could be small to receive and huge to hold, and its digest is that of the plain bytes.
        asked = {"Accept-Encoding": "identity", **headers}
        try:
            with (
                make_client(_get_base(url), timeout=timeout, transport=self.transport) as client,
                client.stream("GET", url, headers=asked) as response,
            ):
                if response.headers.get("content-encoding", "identity").lower() != "identity":
                    raise NotReadableError("its answer is compressed")
                return Answer(response.status_code, response.headers, self._read_body(response, most_bytes))
        except httpx.TimeoutException as error:
            raise NotReadableError("no answer in time") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of such an error may contain the URL.
            raise NotReadableError(f"no connection ({type(error).__name__})") from error

    def _read_body(self, response: httpx.Response, most_bytes: int) -> bytes:
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > most_bytes:
                raise NotReadableError(f"its answer is larger than {most_bytes} bytes")
            if time.monotonic() > self.ends_at:
                raise NotReadableError("no answer in time")
        return bytes(body)


def _get_origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme, 0)


def _get_base(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"
