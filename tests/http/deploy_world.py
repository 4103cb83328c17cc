"""An operator's folder, a real installation (Postgres and its REST API), and the recorded stand-ins of the vendors' tools."""

import gc
import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import ops.commands.deploy
from ops.cli import build_cli
from ops.deploy.runner import probe
from ops.project_files import add_to_env_file
from tests.support.vendors.base import Memory, install

CANARY = "canary"
KEY = json.dumps(
    {**json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()))), "alg": "ES256", "kid": "k-1"},
    separators=(",", ":"),
)
PROJECT = """
[backend]
image = "registry.example.test/acme/backend:1"
regions = "sin,nrt"

[functions]
SUPABASE_PUBLISHABLE_KEY = "sb_publishable_0000000000"
FLY_ORG_SLUG = "acme"

[deploy.fly]
organization = "acme-ops"
name = "acme-hangar"
region = "sin"

[deploy.cloud-run]
project = "acme-prod"
region = "asia-southeast1"

[deploy.compose]
host = "hangar.example.test"
"""


@dataclass
class DeployWorld:
    """`hangar(…)` runs a command as an operator in `folder` does. `asked` are the addresses that the checks asked."""

    folder: Path
    database_url: str
    gateway_url: str
    secret_key: str
    monkeypatch: Any
    asked: list[str] = field(default_factory=list)
    statuses: dict[str, int] = field(default_factory=dict)

    def __post_init__(self):
        self.folder.mkdir()
        self.memory = Memory(self.folder.parent / "memory.json")
        self.bin = self.folder.parent / "bin"
        self.offer("flyctl", "gcloud", "docker")
        (self.folder / "hangar.toml").write_text(PROJECT)
        add_to_env_file(self.secrets(), self.folder / ".env.hangar")
        self.monkeypatch.chdir(self.folder)
        for name in [each for each in os.environ if each.startswith(("SUPABASE_", "HANGAR_", "FLY_", "CLOUDSDK_"))]:
            self.monkeypatch.delenv(name)
        self.monkeypatch.setattr(ops.commands.deploy, "probe", self._probe)

    def offer(self, *tools):
        """Only these tools are on PATH."""
        for each in self.bin.glob("*") if self.bin.exists() else []:
            each.unlink()
        install(self.bin, self.memory.path, *tools)
        self.monkeypatch.setenv("PATH", f"{self.bin}:/usr/sbin:/sbin")

    def secrets(self):
        return {
            "SUPABASE_URL": self.gateway_url,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "SUPABASE_DB_URL": self.database_url,
            "FLY_API_TOKEN": "FlyV1 fm2_canary0000000000",
            "HANGAR_WEBHOOK_SECRET": "whsec_Y2FuYXJ5LXdlYmhvb2sta2V5LW9mLTMyLWJ5dGVz",
            "HANGAR_STATIC_SECRET": "canary-static-secret-0123456789",
            "HANGAR_USER_TOKEN_KEY": KEY,
            "HANGAR_ALERT_WEBHOOK_URL": "https://hooks.example.test/canary-path",
        }

    def secret_texts(self):
        """What must be nowhere but in `.env.hangar` and in the vendors' own stores."""
        values = self.secrets()
        return [
            "canary",
            values["SUPABASE_SECRET_KEY"],
            values["HANGAR_WEBHOOK_SECRET"].removeprefix("whsec_"),
            json.loads(KEY)["d"],
            self.database_url,
        ]

    def _probe(self, action):
        def answer(request):
            self.asked.append(f"{request.method} {request.url}")
            usual = 200 if request.method == "GET" else 401
            return httpx.Response(self.statuses.get(str(request.url), usual))

        return probe(action, transport=httpx.MockTransport(answer), wait_s=0, sleep=lambda _: None)

    def hangar(self, *words, code=0):
        """Run `hangar` in this process; its output. The exit code must be `code`."""
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ResourceWarning
            )  # a command leaves its connections to the end of its process
            result = CliRunner().invoke(build_cli(), words)
            error, exit_code, output = result.exception, result.exit_code, result.output
            if isinstance(error, SystemExit):
                error = None
            del result  # its traceback holds the connections
            gc.collect()
        if error:
            raise error
        assert exit_code == code, output
        return output

    def start(self, *words):
        """Run `hangar` as a process of its own, to be killed."""
        return subprocess.Popen(
            [sys.executable, "-c", "from ops.cli import main; main()", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def sql(self, query, *values):
        with psycopg.connect(self.database_url, autocommit=True) as session:
            cursor = session.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def vault(self):
        return dict(self.sql("select name, decrypted_secret from vault.decrypted_secrets"))

    def tool(self, name):
        """What a vendor's stand-in holds."""
        return self.memory.read().get(name, {})

    def changes(self, tool):
        """The recorded calls that change something, as lines."""
        reads = ("list", "describe", "get-iam-policy", "access", "version", "ls", "ps")
        return [" ".join(each["argv"]) for each in self.memory.calls(tool) if not set(reads) & set(each["argv"][:4])]
