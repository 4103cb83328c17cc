"""The cloud that a benchmark uses: Postgres, the gateway and Fly's simulator, each as a process on 127.0.0.1."""

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import psycopg

from local import process
from local.supabase.keys import Keys
from local.supabase.postgres.server import Postgres
from shared.adapters.database import PostgrestStore
from shared.adapters.notifications import Notifier
from shared.adapters.operator_database import OperatorDatabase
from shared.adapters.procedures import Database
from shared.domain.models import Json
from shared.fly.client import FlyClient
from shared.fly.rate_limits import RateLimits
from shared.reconcile.worker import MachineInputs, Worker
from tests.support.databases import fresh_database

ORG = "hangar-bench"
WEBHOOK_SECRET = "whsec_" + "q83v" * 8  # 24 bytes that protect nothing
_PATIENCE_S = 120.0


class CountingStore(PostgrestStore):
    """The product's own store, which also counts the calls and the health results that were written."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self.calls: Counter[str] = Counter()
        self.results = 0

    def rpc(self, name: str, args: Json) -> Any:
        self.calls[name] += 1
        if name == "fly_record_sweep":
            self.results += len(args["p_observations"])
        return super().rpc(name, args)


@dataclass
class Cloud:
    """Addresses and keys, the host's session, and a worker wired as in production."""

    folder: Path
    host: psycopg.Connection
    keys: Keys
    supabase_url: str
    installation_id: UUID
    children: ExitStack
    fly_url: str = ""

    def start_fly(self, rows: Path | None = None) -> list[dict[str, Any]]:
        """Start the simulator. With a file of rows it starts with their apps and machines, and returns what it made."""
        ready = self.folder / "fly.json"
        command: list[str | Path] = [sys.executable, "-m", "bench.fly_process", "--ready-file", ready, "--org", ORG]
        if rows:
            command += ["--rows", rows]
        child = process.spawn(command, log=self.folder / "fly.log")
        self.children.callback(process.stop, child)
        report = json.loads(_await_file(ready, self.folder / "fly.log"))
        ready.unlink()
        self.fly_url = report["url"]
        made: list[dict[str, Any]] = report["made"]
        return made

    def make_worker(self) -> tuple[Worker, CountingStore]:
        """A worker over the gateway and HTTP, wired as in `shared.wiring`, and its store."""
        # The simulator here has no rate limits (see docs/benchmarks.md), so only work is measured, not waiting.
        limits = RateLimits(time.monotonic, time.sleep, deletions_a_minute=1_000_000)
        store = CountingStore(self.supabase_url, self.keys.secret_key)
        database = Database(store)
        worker = Worker(
            database=database,
            fly=FlyClient(self.fly_url, "any", org_slug=ORG, limits=limits),
            inputs=MachineInputs(
                self.installation_id, lambda row: {"USER_ID": str(row.user_id)}, lambda *_: {"TOKEN": "t"}
            ),
            notifier=Notifier(database),
            holder="bench",
        )
        return worker, store

    @property
    def operator(self) -> OperatorDatabase:
        """The operator's procedures, over the same gateway."""
        return OperatorDatabase(PostgrestStore(self.supabase_url, self.keys.secret_key))

    def count_fly_requests(self) -> Counter[str]:
        """The requests that reached the simulator so far, by method and path template."""
        return Counter(httpx.get(f"{self.fly_url}/_sim/world", timeout=60).json()["requests"])

    def set_fly_latency(self, profile: str) -> None:
        httpx.put(f"{self.fly_url}/_sim/latency", json={"profile": profile}, timeout=60).raise_for_status()

    def one(self, query: str, *values: object) -> Any:
        """The single value of a query."""
        row = self.host.execute(query.encode(), values).fetchone()
        return row[0] if row else None


@contextmanager
def run_cloud() -> Iterator[Cloud]:
    """Postgres with Hangar's migrations and the gateway: live, and without users. All of it stops at the end of the block."""
    memory = Path("/dev/shm")  # noqa: S108  mkdtemp creates a private folder there
    folder = Path(tempfile.mkdtemp(prefix="hangar-bench-", dir=memory if memory.is_dir() else None))
    folder.chmod(0o755)  # Postgres may have to run as another user
    with ExitStack() as children:
        children.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = Postgres(folder / "postgres", settings={"max_wal_size": "512MB"}).start()
        children.callback(postgres.stop)
        url = fresh_database(postgres)
        host = children.enter_context(psycopg.connect(url, autocommit=True))
        host.execute(
            "update hangar.settings set live = true, fly_org_slug = %s, default_region = 'iad', default_image = 'app@sha256:1'",
            (ORG,),
        )
        host.execute("select vault.create_secret('http://127.0.0.1:9', 'hangar_functions_url')")
        host.execute("select vault.create_secret(%s, 'hangar_webhook_secret')", (WEBHOOK_SECRET,))
        installation = host.execute("select installation_id from hangar.settings").fetchone()
        keys = Keys.generate()
        (folder / "keys.json").write_text(keys.to_json())
        ready = folder / "gateway.url"
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "local.supabase.gateway",
            "--database-url",
            url,
            "--keys",
            folder / "keys.json",
        ]
        child = process.spawn([*command, "--ready-file", ready], log=folder / "gateway.log")
        children.callback(process.stop, child)
        address = _await_file(ready, folder / "gateway.log")
        yield Cloud(folder, host, keys, address, UUID(str(installation[0] if installation else "")), children)


def _await_file(path: Path, log: Path) -> str:
    ends_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < ends_at:
        if path.exists():
            return path.read_text()
        time.sleep(0.02)
    raise RuntimeError(f"{path.name} was not written in time: {log.read_text()[-2000:]}")
