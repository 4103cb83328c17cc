"""Machines as real child processes: environment, exec, checks, restarts. No process outlives the simulator."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from local.fly.runtime.processes import ProcessRunner
from local.fly.server import FlyServer
from local.fly.simulator import FlySim

MACHINES = "/v1/apps/app-one/machines"
AUTH = {"Authorization": "Bearer any"}

CHILD = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/exit":
            os._exit(3)
        ready = self.path == "/health" or os.path.exists(os.environ["READY"])
        self.send_response(200 if ready else 503)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *parts):
        pass
def end(*parts):
    print("ended politely", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGUSR1, signal.SIG_IGN)
print("hello", os.environ["USER_ID"], flush=True)
http.server.HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""


def until(seen, what, seconds=20.0):
    """Poll until `seen()` is true; AssertionError after the deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := seen():
            return found
        time.sleep(0.02)
    pytest.fail(f"not within {seconds:g} s: {what}")


def is_alive(pid):
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(parent):
    """The ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    return found


class Fly:
    """A served simulator whose machines are small web servers."""

    def __init__(self, folder, limit=40):
        self.folder = folder
        (folder / "child.py").write_text(CHILD)
        self.runner = ProcessRunner([sys.executable, str(folder / "child.py")], limit, log_dir=folder / "logs")
        self.server = FlyServer(FlySim(time.time, machines=self.runner)).start()
        self.http = httpx.Client(base_url=self.server.url, headers=AUTH, timeout=70)
        self.http.post("/v1/apps?wait=true", json={"app_name": "app-one", "org_slug": "personal"})
        self.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "s3cret"}})

    def start(self, name="main", **more):
        config = {
            "image": "backend:1",
            "env": {"USER_ID": "user-1", "READY": str(self.folder / "ready")},
            "restart": {"policy": "on-failure", "max_retries": 2},
            "checks": {
                "alive": {"type": "http", "port": 8080, "path": "/health", "interval": "1s"},
                "ready": {"type": "http", "port": 8080, "path": "/ready", "interval": "1s", "grace_period": "100ms"},
                "port": {"type": "tcp", "port": 8080, "interval": "1s"},
            },
            **more,
        }
        path = f"{MACHINES}/{self.http.post(MACHINES, json={'name': name, 'config': config}).json()['id']}"
        assert self.http.get(f"{path}/wait?state=started").status_code == 200
        return path

    def run(self, path, *command, **more):
        return self.http.post(f"{path}/exec", json={"command": command, **more})

    def pid(self, path):
        return self.runner.pid(path.rsplit("/", 1)[1])

    def checks(self, path):
        return {check["name"]: check["status"] for check in self.http.get(path).json()["checks"]}

    def log(self, path):
        return (self.folder / "logs" / f"{path.rsplit('/', 1)[1]}.log").read_text()

    def close(self):
        self.http.close()
        self.server.stop()


@pytest.fixture
def fly(tmp_path):
    fly = Fly(tmp_path)
    yield fly
    fly.close()


def test_exec_sees_the_machines_env_and_secrets_and_nothing_of_ours(fly, monkeypatch):
    monkeypatch.setenv("OUR_OWN_SECRET", "leak")
    path = fly.start()
    assert fly.run(path, "printenv", "USER_ID").json()["stdout"] == "user-1\n"
    assert fly.run(path, "printenv", "TOKEN").json()["stdout"] == "s3cret\n"
    shown = dict(line.partition("=")[::2] for line in fly.run(path, "env").json()["stdout"].splitlines())
    assert shown["FLY_APP_NAME"] == "app-one"
    assert (shown["FLY_REGION"], shown["FLY_IMAGE_REF"], shown["HOST"]) == ("iad", "backend:1", "127.0.0.1")
    assert shown["FLY_MACHINE_ID"] == path.rsplit("/", 1)[1]
    ours = {name for name in shown if not name.startswith(("FLY_", "PRIMARY_"))}
    assert ours == {"USER_ID", "READY", "TOKEN", "VERSION", "PORT", "HOST", "PATH"}
    assert shown["VERSION"] == "1"


def test_exec_handles_output_input_exit_code_and_timeout(fly):
    path = fly.start()
    done = fly.run(path, "sh", "-c", "cat; echo oops >&2; exit 4", stdin="hi").json()
    assert done == {"stdout": "hi", "stderr": "oops\n", "exit_code": 4, "exit_signal": 0}
    assert fly.run(path, "sh", "-c", "kill -9 $$").json()["exit_signal"] == 9
    assert fly.run(path, "no-such-command").json()["exit_code"] == 127
    assert fly.run(path, "sleep", "60", timeout=1).status_code == 408


def test_checks_are_performed(fly):
    path = fly.start()
    until(lambda: fly.checks(path) == {"alive": "passing", "ready": "critical", "port": "passing"}, "first results")
    (fly.folder / "ready").touch()
    until(lambda: fly.checks(path)["ready"] == "passing", "ready after the file appeared")


def test_the_output_of_a_check_is_the_body_of_the_answer(fly):
    path = fly.start()
    until(lambda: len(fly.checks(path)) == 3, "first results")
    assert {check["output"] for check in fly.http.get(path).json()["checks"]} == {"ok", "Success"}


def test_an_image_that_behaves_badly_is_no_process(fly):
    """The child of the runner would be healthy, whatever the image is."""
    path = fly.start(image="backend:crash-at-start")
    assert fly.pid(path) is None
    until(lambda: fly.http.get(path).json()["state"] == "stopped", "its retries are used up")
    good = fly.start("second", image="backend:wrong-digest")
    assert fly.pid(good) is not None


def test_output_goes_to_the_log(fly):
    path = fly.start()
    until(lambda: "hello user-1" in fly.log(path), "the child's first line")


def test_stop_sends_the_configured_signal(fly):
    path = fly.start(stop_config={"signal": "SIGTERM", "timeout": "20s"})
    until(lambda: "hello" in fly.log(path), "the child has set its handlers")
    pid = fly.pid(path)
    fly.http.post(f"{path}/stop")
    assert fly.http.get(f"{path}/wait?state=stopped&timeout=60").status_code == 200
    assert "ended politely" in fly.log(path)
    assert not is_alive(pid)
    event = fly.http.get(path).json()["events"][0]["request"]["exit_event"]
    assert (event["requested_stop"], event["exit_code"]) == (True, 0)


def test_a_process_that_ignores_the_signal_is_killed_after_the_timeout(fly):
    path = fly.start()
    until(lambda: "hello" in fly.log(path), "the child has started")
    # The process ignores the signal, so only the SIGKILL of the timeout ends it.
    fly.http.post(f"{path}/stop", json={"signal": "SIGUSR1", "timeout": "100ms"})
    assert fly.http.get(f"{path}/wait?state=stopped&timeout=60").status_code == 200


def test_a_killed_process_is_restarted_up_to_its_retries(fly):
    path = fly.start()
    for _ in range(2):
        pid = fly.pid(path)
        os.kill(pid, signal.SIGKILL)
        until(lambda old=pid: fly.pid(path) not in (None, old), "another process")
    until(lambda: fly.http.get(path).json()["state"] == "started", "started again")
    os.kill(fly.pid(path), signal.SIGKILL)
    until(lambda: fly.http.get(path).json()["state"] == "stopped", "retries used up")
    kinds = [event["type"] for event in fly.http.get(f"{path}/events?limit=50").json()]
    assert kinds.count("exit") == 3
    assert kinds.count("restart") == 2


def test_crash_kills_the_process_and_start_starts_a_new_one(fly):
    path = fly.start(restart={"policy": "always"})
    pid = fly.pid(path)
    fly.http.post(f"/_sim/machines/{path.rsplit('/', 1)[1]}/crash")
    assert fly.http.get(path).json()["state"] == "stopped"
    until(lambda: not is_alive(pid), "the process is gone")
    assert fly.http.post(f"{path}/start").json()["previous_state"] == "stopped"
    assert fly.http.get(f"{path}/wait").status_code == 200
    assert fly.pid(path) not in (None, pid)


def test_a_new_secret_reaches_the_machine_at_its_next_update(fly):
    path = fly.start()
    config = fly.http.get(path).json()["config"]
    fly.http.post("/v1/apps/app-one/secrets", json={"values": {"TOKEN": "new"}})
    assert fly.run(path, "printenv", "TOKEN").json()["stdout"] == "s3cret\n"
    version = fly.http.post(path, json={"config": config}).json()["version"]
    assert fly.http.get(f"{path}/wait?version={version}").status_code == 200
    assert fly.run(path, "printenv", "TOKEN").json()["stdout"] == "new\n"


def test_machines_beyond_the_limit_are_virtual_and_healthy(tmp_path):
    fly = Fly(tmp_path, limit=1)
    try:
        first, second = fly.start("one"), fly.start("two")
        assert (fly.pid(first) is not None, fly.pid(second)) == (True, None)
        assert set(fly.checks(second).values()) == {"passing"}
        machines = fly.http.get("/_sim/world").json()["apps"][0]["machines"]
        assert [machine["process"] for machine in machines] == [True, False]
    finally:
        fly.close()


def test_deleting_the_app_ends_its_processes(fly):
    pids = [fly.pid(fly.start(name)) for name in ("one", "two")]
    fly.http.delete("/v1/apps/app-one?force=true")
    until(lambda: not any(is_alive(pid) for pid in pids), "both gone")


def start_command(folder, *options):
    """`python -m local.fly` with two machines; its process, its client, its children's ids."""
    (folder / "child.py").write_text(CHILD)
    ready = folder / "ready.json"
    command = [sys.executable, "-m", "local.fly", "--port", "0", "--ready-file", str(ready), *options]
    command += ["--processes", sys.executable, str(folder / "child.py")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    line = process.stdout.readline()
    url = next(word for word in line.split() if word.startswith("http://"))
    until(ready.exists, "the ready file")
    http = httpx.Client(base_url=url, headers={"Authorization": "Bearer right"})
    http.post("/v1/apps?wait=true", json={"app_name": "app-one", "org_slug": "acme"}).raise_for_status()
    for name in ("one", "two"):
        config = {"image": "x", "env": {"USER_ID": "user-1", "READY": "none"}}
        path = f"{MACHINES}/{http.post(MACHINES, json={'name': name, 'config': config}).json()['id']}"
        http.get(f"{path}/wait").raise_for_status()
    return process, http, ready, children_of(process.pid)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_child_outlives_the_simulator(tmp_path, how):
    process, http, ready, pids = start_command(tmp_path, "--token", "right", "--org", "acme")
    try:
        assert len(pids) == 2
        assert httpx.get(f"{http.base_url}/v1/apps/x", headers=AUTH).status_code == 401
        process.send_signal(how)
        code = process.wait(timeout=20)
        until(lambda: not any(is_alive(pid) for pid in pids), "all children gone")
        if how is not signal.SIGKILL:
            assert code == 0
            assert not ready.exists()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        http.close()


def test_a_taken_port_is_an_error_with_exit_code_1():
    with FlyServer(FlySim(time.time)) as server:
        port = str(httpx.URL(server.url).port)
        command = [sys.executable, "-m", "local.fly", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert port in done.stderr
    assert "Traceback" not in done.stderr
