"""nginx and haproxy in front of `zoo serve`, as in production; under make test-all."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import wait_for
from test_server import INFER, Server, json_body

from zoo.datasets import mnist

pytestmark = pytest.mark.slow

#: "user root": the worker writes to the folder of the test, and otherwise nginx ignores it.
#: Idle connections are closed by the proxy (2 s) before the server (4 s) does; as the guide says.
NGINX = """\
user root; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 16m;
  upstream zoo {{ server 127.0.0.1:{server}; keepalive 32; keepalive_timeout 2s; }}
  server {{
    listen 127.0.0.1:{port};
    location /zoo/ {{
      proxy_pass http://zoo/; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host localhost; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""
HAPROXY = """\
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout http-keep-alive 2s
frontend web
  bind 127.0.0.1:{port}
  default_backend zoo
backend zoo
  option httpchk GET /v2/health/ready
  http-check send hdr Host localhost
  default-server check inter 100ms fall 1 rise 1
  server first 127.0.0.1:{first}
  server second 127.0.0.1:{second}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def proxy(program: str, words: list[str], port: int) -> Iterator[None]:
    """A proxy that accepts connections."""
    process = subprocess.Popen([program, *words], stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None, process.stderr
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        pytest.skip(f"no {name}: apt-get install {name}")
    return found


def statuses(port: int, path: str, body: bytes, threads: int, stop: Callable[[int], bool],
             pause: float) -> list[object]:  # fmt: skip
    """Send requests over kept connections, with pauses; return the status or error of each."""
    answers: list[object] = []

    def client(number: int) -> None:
        rng, connection = random.Random(number), http.client.HTTPConnection("127.0.0.1", port)
        while not stop(len(answers)):
            try:
                connection.request("POST", path, body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                answers.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                if pause < 1:  # without pauses nothing but the server could have closed it
                    answers.append(repr(error))
                connection.close()
            time.sleep(rng.uniform(0, pause))
        connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(threads)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return answers


def test_nginx_gets_no_502_and_the_prefix_holds(
    tmp_path: Path, zoo_command: list[str], digits: mnist.Split
) -> None:
    nginx, port = program("nginx"), free_port()
    server = Server(zoo_command, "cnn", "--keep-alive", 4, "--root-path", "/zoo")
    file = tmp_path / "nginx.conf"
    file.write_text(NGINX.format(folder=tmp_path, server=server.port, port=port))
    with proxy(nginx, ["-c", str(file), "-e", str(tmp_path / "start.log")], port):
        body = json_body(digits.inputs[:1])
        # pauses around the time at which the proxy drops its idle connections
        found = statuses(port, f"/zoo{INFER}", body, 64, lambda count: count >= 500, 5.0)
        assert len(found) >= 500
        assert set(found) == {200}
        connection = http.client.HTTPConnection("127.0.0.1", port)
        with contextlib.closing(connection):
            connection.request("GET", "/zoo/openapi.json")
            document = json.loads(connection.getresponse().read())
            assert document["servers"] == [{"url": "/zoo"}]
            large = json_body(digits.inputs[:3000])  # several MB
            connection.request("POST", f"/zoo{INFER}", large, {"Content-Type": "application/json"})
            assert connection.getresponse().status == 200
    assert server.stop()[0] == 0


def test_a_rolling_restart_behind_haproxy_loses_no_request(
    tmp_path: Path, zoo_command: list[str], digits: mnist.Split
) -> None:
    haproxy, port = program("haproxy"), free_port()
    options = ("cnn", "--drain", 2, "--no-access-log")
    servers = [Server(zoo_command, *options), Server(zoo_command, *options)]
    file = tmp_path / "haproxy.cfg"
    ports = {"first": servers[0].port, "second": servers[1].port}
    file.write_text(HAPROXY.format(port=port, **ports))
    done = threading.Event()
    found: list[object] = []
    with proxy(haproxy, ["-f", str(file), "-db"], port):
        body = json_body(digits.inputs[:1])

        def load() -> None:
            found.extend(statuses(port, INFER, body, 8, lambda _: done.is_set(), 0.01))

        clients = threading.Thread(target=load)
        clients.start()
        for number, server in enumerate(servers):
            time.sleep(1)
            assert server.stop()[0] == 0
            words = [*zoo_command, "serve", *map(str, options), "--port", str(server.port)]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            servers[number].process = process
            wait_for(lambda server=server: up(server.port))
            time.sleep(1)
        done.set()
        clients.join()
    for server in servers:
        server.process.terminate()
        server.process.communicate(timeout=60)
    assert len(found) > 200
    assert set(found) == {200}


def up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
