"""The server as an operator meets it: ends, reloads, hangs, full disks, changed bundles."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import wait_for

from zoo.bundle.folder import weights_dir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc of Linux")


class Served:
    """A `zoo serve` process in a session of its own, as a service manager starts one."""

    def __init__(self, command: list[str], *args: object, stderr: Any, **more: Any) -> None:
        words = [*command, "serve", *map(str, args)]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True, **more
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.wait(30)
        self.port = 0 if self.url.startswith("unix:") else int(self.url.strip("/").split(":")[2])

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def workers(self) -> set[int]:
        """The processes that listen, which multiprocessing's own helper does not."""
        found = set()
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = status.with_name("cmdline").read_bytes()
                if parent == self.process.pid and b"spawn_main" in command:
                    found.add(int(status.parent.name))
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.fixture
def serve(zoo_command: list[str], tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start servers with options; stderr goes to the file "log"; all are killed at the end."""
    with contextlib.ExitStack() as stack:

        def begin(*args: object, **more: Any) -> Served:
            if "stderr" not in more:
                more["stderr"] = stack.enter_context((tmp_path / "log").open("w"))
            served = Served(zoo_command, "--port", 0, *args, **more)
            stack.callback(served.process.communicate)
            stack.callback(lambda: _end(served.process.pid))
            return served

        yield begin


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_workers_end_with_their_parent_however_it_ended(serve: Callable[..., Served]) -> None:
    served = serve("linear", "--workers", 2, "--no-access-log")
    workers = served.workers()
    assert len(workers) == 2
    os.kill(min(workers), signal.SIGSTOP)  # not even this one holds the port
    served.signal(signal.SIGKILL)
    wait_for(lambda: not any(map(alive, workers)), 20)
    wait_for(lambda: refuses(served.port), 20)  # a process's threads end one by one


def test_a_worker_that_hangs_or_dies_is_replaced_and_its_gauges_go(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    served = serve("linear", "--workers", 2, "--log-format", "json")
    wait_for(lambda: len(list(folder.glob("gauge_livesum_*.db"))) == 2)
    first = served.workers()
    hung, killed = first
    os.kill(hung, signal.SIGSTOP)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: len(served.workers() - first) == 2)
    wait_for(lambda: len(list(folder.glob("gauge_livesum_*.db"))) == 2)
    gauges = {path.name for path in folder.glob("gauge_livesum_*.db")}
    assert gauges == {f"gauge_livesum_{pid}.db" for pid in served.workers()}
    assert served.get("/v2/health/ready")[0] == 200
    shutil.rmtree(folder)  # as a cleaner of /tmp does
    assert served.get("/metrics")[0] == 200
    os.kill(min(served.workers()), signal.SIGKILL)
    wait_for(lambda: len(served.workers() - first) == 2)
    wait_for(lambda: served.get("/metrics")[0] == 200)
    served.signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    messages = [line["message"] for line in lines if "message" in line]
    assert f"worker {hung} hangs, it is killed" in messages
    assert f"worker {killed} died, starting another" in messages


@pytest.mark.parametrize("workers", [1, 2])
def test_a_changed_bundle_is_served_after_sighup_and_not_before(
    workers: int, serve: Callable[..., Served], tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(weights_dir() / "linear", tmp_path / "mine"))
    served = serve(f"mine={bundle}", "--workers", workers, "--no-access-log")

    def title() -> str:
        return str(json.loads(served.get("/v1/models/mine")[1])["title"])

    before = title()
    card = (bundle / "card.json").read_bytes()
    picture = served.get("/v1/models/mine/curves.png")[1]
    (bundle / "card.json").write_bytes(b"{")  # is being written
    (bundle / "curves.png").unlink()
    (bundle / "model.onnx").write_bytes(b"")
    served.signal(signal.SIGHUP)
    log = tmp_path / "log"
    wait_for(lambda: "not reloaded, the models of before are served" in log.read_text())
    if workers > 1:  # one that starts later serves the version of the others
        (old, _) = served.workers()
        os.kill(old, signal.SIGKILL)
        wait_for(lambda: "starting another" in log.read_text() and len(served.workers()) == 2)
    assert {title() for _ in range(20)} == {before}
    assert served.get("/v1/models/mine/curves.png") == (200, picture)
    shutil.copy(weights_dir() / "linear" / "model.onnx", bundle)
    (bundle / "card.json").write_text(json.dumps(json.loads(card) | {"title": "Changed"}))

    stop, answers = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            answers.append(served.get("/v2/models/mine/ready")[0])

    thread = threading.Thread(target=ask)
    thread.start()
    served.signal(signal.SIGHUP)
    wait_for(lambda: "reloaded mine" in log.read_text())
    stop.set()
    thread.join()
    assert set(answers) == {200}
    assert {title() for _ in range(20)} == {"Changed"}
    served.signal(signal.SIGTERM)
    assert served.process.wait(60) == 0


def test_drain_is_not_ready_and_answers(serve: Callable[..., Served]) -> None:
    served = serve("linear", "--drain", 2, "--no-access-log")
    served.signal(signal.SIGTERM)
    wait_for(lambda: served.get("/v2/health/ready")[0] == 503)
    for path in ("/v2", "/v2/health/live", "/metrics"):  # over new connections, too
        assert served.get(path)[0] == 200
    assert served.process.wait(60) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_ends_at_once(workers: int, serve: Callable[..., Served]) -> None:
    served = serve("linear", "--workers", workers, "--drain", 3600, "--timeout", 3600)
    processes = {served.process.pid, *served.workers()}
    os.killpg(served.process.pid, signal.SIGINT)  # as a terminal does
    wait_for(lambda: served.get("/v2/health/ready")[0] == 503)
    assert served.process.poll() is None
    os.killpg(served.process.pid, signal.SIGINT)
    assert served.process.wait(30) == 130
    wait_for(lambda: not any(map(alive, processes)), 20)


@pytest.mark.parametrize("kind", ["full disk", "full pipe", "closed pipe", "closed"])
def test_a_stderr_that_takes_nothing_closes_no_connection(
    kind: str, serve: Callable[..., Served], zoo_command: list[str]
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if kind == "full pipe":
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    if kind == "closed pipe":
        os.close(reader)
    with contextlib.ExitStack() as stack:
        if kind == "closed":
            served = serve("linear", stderr=None, preexec_fn=lambda: os.close(2))
        elif kind == "full disk":
            served = serve("linear", stderr=stack.enter_context(open("/dev/full", "w")))
        else:
            served = serve("linear", stderr=writer)
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        with contextlib.closing(connection):
            for _ in range(50):
                connection.request("GET", "/v2")
                answer = connection.getresponse()
                assert (answer.status, bool(answer.read())) == (200, True)
            assert connection.sock is not None
        served.signal(signal.SIGTERM)
        assert served.process.wait(60) == 0
    os.close(writer)
    if kind != "closed pipe":
        os.close(reader)


def test_a_unix_socket_and_a_prefix(serve: Callable[..., Served], zoo_process: Any) -> None:
    path = Path("zoo.sock").absolute()
    served = serve("linear", "--uds", "zoo.sock", "--root-path", "/zoo")
    assert served.url == "unix:zoo.sock"

    def ask(method: str, target: str, body: bytes | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("any.example")
        with contextlib.closing(connection):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(path))
            connection.request(method, target, body)
            answer = connection.getresponse()
            answer.data = answer.read()  # type: ignore[attr-defined]
            return answer

    tensor = {"name": "features", "shape": [1, 10], "datatype": "FP32", "data": [0.0] * 10}
    body = json.dumps({"inputs": [tensor]}).encode()
    assert ask("POST", "/v2/models/linear/infer", body).status == 200
    assert json.loads(ask("GET", "/openapi.json").data)["servers"] == [{"url": "/zoo"}]
    redirect = ask("GET", "/page")
    assert redirect.status == 307
    assert redirect.getheader("location") == "http://any.example/zoo/page/"
    second = zoo_process("serve", "linear", "--uds", "zoo.sock")
    assert (second.returncode, second.stdout) == (1, "")
    assert "cannot listen on zoo.sock: Address already in use" in second.stderr
    served.signal(signal.SIGKILL)
    served.process.wait(30)
    assert path.is_socket()
    served = serve("linear", "--uds", "zoo.sock", "--workers", 2)  # what a killed one left
    assert ask("GET", "/v2").status == 200
    served.signal(signal.SIGTERM)
    assert served.process.wait(60) == 0
    assert not path.exists()
    path.write_text("mine")
    assert "it is not a socket" in zoo_process("serve", "linear", "--uds", "zoo.sock").stderr
    assert path.read_text() == "mine"


def test_a_failure_is_500_and_every_line_of_the_log_is_json(
    zoo_command: list[str], tmp_path: Path
) -> None:
    """A model that fails at the first request; a warning; what prints; uvicorn's own lines."""
    code = (
        "import sys, warnings, threading, cli, serve.http.tensors as tensors\n"
        "def parse(*_):\n"
        "    warnings.warn('of a library')\n"
        "    print('printed\\nby it', file=sys.stderr)\n"
        "    threading.Thread(target=lambda: 1 / 0).start()\n"
        "    raise KeyError('a bug')\n"
        "tensors.parse = parse\n"
        "sys.argv = ['zoo', 'serve', 'linear', '--port', '0', '--log-format', 'json']\n"
        "cli.main()\n"
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    port = int(process.stdout.readline().strip().strip("/").split(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.closing(connection):
        for _ in range(2):  # over one connection
            connection.request("POST", "/v2/models/linear/infer", b"{}")
            answer = connection.getresponse()
            assert answer.status == 500
            assert json.loads(answer.read()) == {"error": "the server failed; its log says more"}
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
    assert 'zoo_requests_total{code="500",model="linear"} 2.0' in metrics
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"no HTTP\r\n\r\n")
        raw.recv(1000)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    said = " ".join(line.get("message", "") for line in lines)
    for part in ("of a library", "printed", "by it", "infer of 'linear' failed", "ZeroDivision",
                 "Invalid HTTP request"):  # fmt: skip
        assert part in said, part
    assert any("KeyError: 'a bug'" in line.get("traceback", "") for line in lines)
    assert [line["status"] for line in lines if line.get("method") == "POST"] == [500, 500]


def test_an_error_at_the_start_is_json_too(zoo_process: Any) -> None:
    done = zoo_process("serve", "nope", "--log-format", "json", "--port", 0)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "unknown model 'nope'" in json.loads(line)["message"]


def test_the_address_is_printed_when_connections_are_accepted(
    serve: Callable[..., Served],
) -> None:
    served = serve("linear", "cnn", "--workers", 2)
    assert served.get("/v2/health/ready")[0] == 200  # at once: nothing waits here
