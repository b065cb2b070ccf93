"""Nobody else's hands on the server: names, origins, keys, TLS, and what its log repeats."""

from __future__ import annotations

import base64
import contextlib
import datetime
import http.client
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc

INFER = "/v2/models/linear/infer"
FEATURES = {"name": "features", "shape": [1, 10], "datatype": "FP32", "data": [0.0] * 10}


class Served:
    """A `zoo serve linear` process, its addresses, and requests with any headers."""

    def __init__(self, command: list[str], *args: object, env: dict[str, str] | None = None):
        words = [*command, "serve", "linear", *map(str, args)]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate()
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host="Host" in headers)
            data = json.dumps(body).encode() if body is not None else b""
            for name, value in {"content-length": str(len(data)), **headers}.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(data)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def stop(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said


@pytest.fixture
def serve(zoo_command: list[str]) -> Iterator[Callable[..., Served]]:
    """Start servers with options; what still runs at the end is killed."""
    with contextlib.ExitStack() as stack:

        def begin(*args: object, **more: Any) -> Served:
            served = Served(zoo_command, "--port", 0, *args, **more)
            stack.callback(served.process.communicate)
            stack.callback(served.process.kill)
            return served

        yield begin


def test_foreign_names_and_pages_are_refused(serve: Callable[..., Served]) -> None:
    served = serve()
    body = {"inputs": [FEATURES]}
    for host in ("evil.example", "127.0.0.1.evil.example:80", "localhost.evil", "", "[::2]"):
        for path in ("/", "/v2", "/metrics", "/v1/models", INFER):
            method = "POST" if path == INFER else "GET"
            status, _, answer = served.ask(method, path, body, Host=host)
            assert status == 400, (host, path)
            assert b"--allowed-hosts" in answer
    for host in (
        "localhost",
        "LocalHost:1",
        "127.0.0.1:80",
        "[::1]:80",
        f"127.0.0.1:{served.port}",
    ):
        assert served.ask("POST", INFER, body, Host=host)[0] == 200, host
    own = f"127.0.0.1:{served.port}"
    foreign: list[dict[str, str]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://127.0.0.1:{served.port + 1}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site", "Origin": f"http://{own}"},
    ]
    for headers in foreign:
        for kind in ("text/plain", "application/json", "multipart/form-data"):
            for path in (INFER, "/v1/predict/linear", "/v2/models/nope/infer"):
                status, given, answer = served.ask("POST", path, body, Content_Type=kind, **headers)
                assert (status, "access-control-allow-origin" in given) == (403, False), headers
                assert b"--cors-origin" in answer
    for headers in ({"Origin": f"http://{own}"}, {"Sec_Fetch_Site": "same-origin"}, {}):
        assert served.ask("POST", INFER, body, **headers)[0] == 200, headers
    status, given, _ = served.ask("OPTIONS", INFER, Origin="http://evil.example")
    assert "access-control-allow-origin" not in given
    assert "frame-ancestors 'none'" in served.ask("GET", "/")[1]["content-security-policy"]


def test_names_and_origins_can_be_allowed(serve: Callable[..., Served]) -> None:
    served = serve(
        "--allowed-hosts", "zoo.example", "--allowed-hosts", "*.lab.example",
        "--cors-origin", "https://app.example",
    )  # fmt: skip
    hosts = {"zoo.example": 200, "a.lab.example:1": 200, "lab.example": 400, "x.zoo.example": 400}
    for host, expected in hosts.items():
        assert served.ask("GET", "/v2", Host=host)[0] == expected, host
    ask = {"Host": "zoo.example", "Origin": "https://app.example"}
    status, headers, _ = served.ask("POST", INFER, {"inputs": [FEATURES]}, **ask)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://app.example")
    assert headers["vary"].lower() == "origin"
    asked = {"Access_Control_Request_Method": "POST"}
    status, headers, _ = served.ask("OPTIONS", INFER, **ask, **asked)
    assert (status, headers["access-control-allow-origin"]) == (200, "https://app.example")
    ask["Origin"] = "https://evil.example"
    status, headers, _ = served.ask("OPTIONS", INFER, **ask, **asked)
    assert "access-control-allow-origin" not in headers
    assert served.ask("POST", INFER, {"inputs": [FEATURES]}, **ask)[0] == 403


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_clients_say_forges_no_line_of_the_log(
    form: str, serve: Callable[..., Served]
) -> None:
    served = serve("--log-format", form)
    forged = "10.0.0.1 GET /forged 200 0.01 ms\x9b31m\x85"
    served.ask("GET", "/v2", X_Forwarded_For=forged)
    served.ask("GET", "/v2", X_Forwarded_For="9" * 9000)
    served.ask("GET", "/" + "a" * 9000)
    code, said = served.stop()
    assert code == 0
    lines = said.splitlines()
    assert len(lines) == 3
    assert said.isascii()
    assert all(len(line) < 1500 for line in lines)
    if form == "json":
        documents = [json.loads(line) for line in lines]
        assert documents[0]["path"] == "/v2"
        assert " " not in documents[0]["client"]
    else:
        assert [len(line.split(" ")) for line in lines] == [7] * 3


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    signed = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def test_tls_and_keys_over_http_and_grpc(
    serve: Callable[..., Served], certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("first-key\nsecond-key\n")
    served = serve(
        "--ssl-certfile", certificate[0], "--ssl-keyfile", certificate[1], "--grpc-port", 0,
        "--api-key-file", tmp_path / "keys", "--workers", 2,
    )  # fmt: skip
    assert served.url.startswith("https://127.0.0.1:")
    assert served.process.stdout is not None
    address = served.process.stdout.readline().strip().removeprefix("grpcs://")
    context = ssl.create_default_context(cafile=str(certificate[0]))

    def ask(path: str, **headers: str) -> tuple[int, dict[str, str]]:
        client = http.client.HTTPSConnection("127.0.0.1", served.port, context=context, timeout=30)
        with contextlib.closing(client):
            client.request(
                "GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}
            )
            answer = client.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}

    basic = base64.b64encode(b"anyone:second-key").decode()
    right = [
        {"Authorization": "Bearer first-key"}, {"Authorization": "bearer second-key"},
        {"X_API_Key": "first-key"}, {"Authorization": f"Basic {basic}"},
    ]  # fmt: skip
    wrong = [
        {}, {"Authorization": "Bearer"}, {"Authorization": "first-key"},
        {"Authorization": "Bearer first-ke"}, {"X_API_Key": ""}, {"Authorization": "Basic ***"},
        {"Authorization": "Bearer first-key\xe9"}, {"X_API_Key": "first-key\tsecond-key"},
    ]  # fmt: skip
    for headers in right:
        assert ask("/v2", **headers)[0] == 200, headers
    for headers in wrong:
        for path in ("/", "/v2", "/metrics", "/v1/models", INFER, "/nowhere"):
            status, given = ask(path, **headers)
            assert status == 401, (path, headers)
            assert given["www-authenticate"].startswith("Basic ")
    assert ask("/v2/health/live")[0] == ask("/v2/health/ready")[0] == 200  # for probes

    credentials = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    with grpc.secure_channel(address, credentials) as channel:
        live = channel.unary_unary("/inference.GRPCInferenceService/ServerLive")
        assert live(b"", metadata=[("authorization", "Bearer second-key")], timeout=30)
        for metadata in ([], [("authorization", "Bearer no")], [("x-api-key", "first")]):
            with pytest.raises(grpc.RpcError) as refused:
                live(b"", metadata=metadata, timeout=30)
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
            with pytest.raises(grpc.RpcError) as refused:
                list(stream(iter(()), metadata=metadata, timeout=30))
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        request = health_pb2.HealthCheckRequest()
        assert health_pb2_grpc.HealthStub(channel).Check(request, timeout=30).status == 1
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as plain:
        plain.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200" not in plain.recv(100)
    code, said = served.stop()
    assert code == 0
    for key in ("first-key", "second-key"):
        assert key not in said
        assert key not in " ".join(map(str, served.process.args))


def test_the_key_may_be_in_the_environment(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_API_KEY", "of-the-environment")
    served = serve()
    assert served.ask("GET", "/v2")[0] == 401
    assert served.ask("GET", "/v2", Authorization="Bearer of-the-environment")[0] == 200


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--api-key-file", "nowhere"), "--api-key-file nowhere: No such file"),
        (("--api-key-file", "empty"), "expected a key in a line"),
        (("--api-key-file", "spaces"), "expected a key in a line"),
        (("--ssl-certfile", "empty"), "expected both or neither"),
        (("--ssl-certfile", "empty", "--ssl-keyfile", "spaces"), "--ssl-certfile empty"),
        (("--ssl-certfile", "nowhere", "--ssl-keyfile", "empty"), "No such file"),
        (("--allowed-hosts", "http://a/b"), "--allowed-hosts: expected names"),
        (("--cors-origin", "app.example"), "--cors-origin: expected an origin"),
        (("--host", ""), "--host: expected an address"),
        (("--root-path", "zoo/"), "--root-path: expected a path"),
        (("--root-path", "/../x"), "--root-path: expected a path"),
        (("--timeout", "nan"), "--timeout: expected "),
        (("--timeout", "inf"), "--timeout: expected "),
        (("--timeout", "1e300"), "--timeout: expected "),
        (("--drain", "nan"), "--drain: expected "),
        (("--threads", 10**9), "--threads: expected "),
        (("--workers", 10**9), "--workers: expected "),
        (("--max-queue", 10**12), "--max-queue: expected "),
        (("--max-batch", 10**12), "--max-batch: expected "),
        (("--max-body", 10**12), "--max-body: expected "),
    ],
)
def test_settings_that_cannot_work_are_usage_errors(
    args: tuple[object, ...], reason: str, zoo_cli: Callable[..., Any]
) -> None:
    Path("empty").touch()
    Path("spaces").write_text("a key\n")
    result = zoo_cli("serve", "linear", "--port", 0, *args)
    assert result.exit_code == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert reason in line
    assert result.stdout == ""
