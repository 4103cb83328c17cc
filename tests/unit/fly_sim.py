"""The fixture of the simulator's unit tests: one organisation, a raw client, a virtual clock."""

import httpx

from local.fly.simulator import FlySim
from local.fly.times import VirtualClock
from local.fly.transport import open_client

CONFIG = {
    "image": "registry.fly.io/backend:1@sha256:" + "a" * 64,
    "guest": {"cpu_kind": "shared", "cpus": 2, "memory_mb": 512},
    "env": {"USER_ID": "user-1"},
    "metadata": {"owner": "one"},
    "checks": {"alive": {"type": "http", "port": 8080, "path": "/health", "interval": "15s"}},
}


class Fly:
    """One organisation, a raw client, and a clock that moves by `advance` and by the time that calls take."""

    def __init__(self, **settings):
        self.clock = VirtualClock()
        self.sim = FlySim(self.clock, **{"seed": 3, **settings})
        self.http = open_client(self.sim, self.clock.advance)

    def app(self, name="app-one", **more):
        return self.http.post("/v1/apps?wait=true", json={"app_name": name, "org_slug": "personal", **more})

    def machine(self, name="app-one-main", app="app-one", config=CONFIG, **more):
        return self.http.post(f"/v1/apps/{app}/machines", json={"name": name, "config": config, **more})

    def started(self):
        self.app()
        path = f"/v1/apps/app-one/machines/{self.machine().json()['id']}"
        assert self.http.get(f"{path}/wait?state=started").status_code == 200
        return path

    def state(self, path):
        return self.http.get(path).json()["state"]

    def world(self):
        return self.http.get("/_sim/world").json()


def error_of(response: httpx.Response):
    return response.status_code, response.json()["error"]
