"""The server as its clients meet it: a real process on loopback, real clients, real faults."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import battery
import msgspec
import numpy as np
import pytest
from conftest import ROOT, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import zoo
from serve.decoding import Decoding
from serve.options import Options
from zoo import Session, images
from zoo.bundle.card import parse
from zoo.bundle.folder import Bundle, shipped
from zoo.datasets import mnist
from zoo.runtime.providers import cuda_missing
from zoo.spec import ImageSpec

INFER = "/v2/models/cnn/infer"


class Server:
    """A `zoo serve` process and its address."""

    def __init__(self, command: list[str], *args: object) -> None:
        words = [*command, "serve", *map(str, args), "--port", "0"]
        self.process = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip().rstrip("/")
        assert self.url.startswith("http://127.0.0.1:"), self.process.communicate()
        self.address = self.url.removeprefix("http://")
        self.port = int(self.address.rpartition(":")[2])
        for _ in range(300):
            with contextlib.suppress(OSError):
                if self.request("GET", "/v2/health/ready")[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the server did not become ready")

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request over a new connection: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            lower = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, lower, answer.read()
        finally:
            connection.close()

    def stop(self) -> tuple[int, str]:
        """SIGTERM; the exit code and what was said."""
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=30)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def server(zoo_command: list[str]) -> Iterator[Server]:
    """All shipped models."""
    server = Server(zoo_command)
    yield server
    assert server.stop()[0] == 0


@contextlib.contextmanager
def starter(kind: type[Server], command: list[str]) -> Iterator[Callable[..., Any]]:
    """Yield what starts a server with options; what still runs at the end is killed."""
    servers: list[Server] = []

    def begin(*args: object) -> Server:
        servers.append(kind(command, *args))
        return servers[-1]

    yield begin
    for one in servers:
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


@pytest.fixture
def start(zoo_command: list[str]) -> Iterator[Callable[..., Server]]:
    """Start servers with options; what still runs at the end is stopped."""
    with starter(Server, zoo_command) as begin:
        yield begin


def json_body(images: np.ndarray, **more: Any) -> bytes:
    tensor = {
        "name": "images",
        "shape": list(images.shape),
        "datatype": "UINT8",
        "data": images.ravel().tolist(),
    }
    return msgspec.json.encode({"inputs": [tensor], **more})


def framed(header: dict[str, Any], blob: bytes) -> tuple[bytes, str]:
    head = msgspec.json.encode(header)
    return head + blob, str(len(head))


def test_tritonclient_works_unmodified(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "triton_check.py", server.address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "all right\n", done.stderr[-3000:]


def test_the_answers_are_those_of_the_session(server: Server, digits: mnist.Split) -> None:
    images = digits.inputs[:150]
    for model in ("softmax", "googlenet", "resnet", "rnn"):
        body = json_body(images, id="a")
        status, headers, data = server.request("POST", f"/v2/models/{model}/infer", body)
        assert status == 200
        assert headers["content-type"] == "application/json"
        answer = json.loads(data)
        assert (answer["model_name"], answer["model_version"], answer["id"]) == (model, "1", "a")
        assert [tensor["name"] for tensor in answer["outputs"]] == ["logits", "probabilities"]
        expected = Session(model, device="cpu").run(images)
        for tensor, want in zip(answer["outputs"], expected, strict=True):
            found = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
            np.testing.assert_allclose(found, want, atol=1e-4)


def test_nested_data_and_chosen_outputs(server: Server, digits: mnist.Split) -> None:
    images = digits.inputs[:3]
    nested = {"name": "images", "shape": [3, 28, 28, 1], "datatype": "UINT8",
              "data": images.tolist()}  # fmt: skip
    body = json.dumps({"inputs": [nested], "outputs": [{"name": "probabilities"}]}).encode()
    status, _, data = server.request("POST", "/v2/models/resnet/versions/1/infer", body)
    assert status == 200
    (tensor,) = json.loads(data)["outputs"]
    assert np.array(tensor["data"]).reshape(3, 10).argmax(axis=1).tolist() == [7, 2, 1]


def test_raw_and_mixed_binary_requests(server: Server, digits: mnist.Split) -> None:
    images = digits.inputs[:4]
    status, headers, data = server.request(
        "POST", INFER, images.tobytes(), Inference_Header_Content_Length="0"
    )
    assert status == 200
    size = int(headers["inference-header-content-length"])
    outputs = json.loads(data[:size])["outputs"]
    assert [tensor["parameters"]["binary_data_size"] for tensor in outputs] == [160, 160]
    probabilities = np.frombuffer(data[size + 160 :], "<f4").reshape(4, 10)
    assert probabilities.argmax(axis=1).tolist() == digits.targets[:4].tolist()

    tensor = {"name": "images", "shape": [4, 28, 28, 1], "datatype": "UINT8",
              "parameters": {"binary_data_size": 4 * 784}}  # fmt: skip
    outputs = [{"name": "logits", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    body, size_text = framed({"inputs": [tensor], "outputs": outputs}, images.tobytes())
    status, headers, data = server.request(
        "POST", INFER, body, Inference_Header_Content_Length=size_text
    )
    assert status == 200
    size = int(headers["inference-header-content-length"])
    first, second = json.loads(data[:size])["outputs"]
    assert len(data) - size == first["parameters"]["binary_data_size"] == 160
    np.testing.assert_allclose(np.array(second["data"]).reshape(4, 10), probabilities, atol=1e-6)


def test_images_in_labels_out(server: Server, tmp_path: Path, digits: mnist.Split) -> None:
    for number in range(3):
        ink = Image.fromarray(digits.inputs[number, :, :, 0])
        ink.save(tmp_path / f"{number}.png")
        paper = Image.fromarray(255 - digits.inputs[number, :, :, 0]).resize((100, 100))
        paper.save(tmp_path / f"{number}.jpg")
    for args in (
        ["--data-binary", "@0.png"],
        ["--data-binary", "@0.jpg", "-H", "Content-Type: image/jpeg"],
        ["-F", "file=@0.png"],
    ):
        done = subprocess.run(
            ["curl", "-s", *args, f"{server.url}/v1/predict/resnet"],
            capture_output=True, check=True,
        )  # fmt: skip
        (found,) = json.loads(done.stdout)["predictions"]
        assert found["label"] == "7"
        assert found["probability"] == found["probabilities"]["7"] > 0.9
        assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    (tmp_path / "bad.png").write_bytes(b"nonsense")
    files = ["-F", "a=@1.png", "-F", "b=@bad.png", "-F", "c=@2.jpg"]
    done = subprocess.run(
        ["curl", "-s", *files, f"{server.url}/v1/predict/resnet"], capture_output=True, check=True
    )
    first, bad, third = json.loads(done.stdout)["predictions"]
    assert (first["name"], first["label"], third["label"]) == ("1.png", "2", "1")
    assert bad == {"name": "bad.png", "error": "not an image in a known format"}


def test_what_the_model_sees_is_answered_on_request(server: Server) -> None:
    picture = io.BytesIO()
    dark = battery.conditions(np.random.default_rng(0))["phone photo"](battery.drawn(4, 0))
    dark.save(picture, "PNG")
    data, spec = picture.getvalue(), zoo.card("cnn").spec
    assert isinstance(spec, ImageSpec)
    for query, expected in (
        ("?seen=yes", images.decode(data, spec)),
        ("?seen=yes&prepare=none", images.decode(data, spec, prepare="none")),
    ):
        _, _, answer = server.request("POST", f"/v1/predict/cnn{query}", data)
        (row,) = json.loads(answer)["predictions"]
        head, _, encoded = row["seen"].partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(encoded))) as seen:
            np.testing.assert_array_equal(seen, expected[:, :, 0])
    _, _, answer = server.request("POST", "/v1/predict/cnn", data)
    assert "seen" not in json.loads(answer)["predictions"][0]
    status, _, answer = server.request("POST", "/v1/predict/cnn?seen=maybe", data)
    assert (status, json.loads(answer)["error"]) == (400, "seen: expected no or yes, given 'maybe'")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nowhere", 404, "no such address: /nowhere"),
        ("POST", "/v2/models/nope/infer", 404, "unknown model 'nope', known: cnn,"),
        ("POST", "/v2/models/cnn/versions/9/infer", 404, "has no version '9'"),
        ("GET", "/v2/models/nope", 404, "unknown model 'nope'"),
        ("GET", INFER, 405, "expected POST"),
        ("PUT", "/v2", 405, "not allowed"),
        ("DELETE", "/v1/predict/cnn", 405, "not allowed"),
        ("GET", "/v1/models/cnn/secret.png", 404, "no picture"),
        ("GET", "/v1/models/cnn/..%2f..%2fcard.json", 404, ""),
        ("GET", "/page/../app.py", 404, ""),
        ("GET", "/page/nothing.js", 404, ""),
    ],
)  # fmt: skip
def test_wrong_addresses_and_methods(
    server: Server, method: str, path: str, status: int, reason: str
) -> None:
    found, headers, data = server.request(method, path)
    assert found == status
    assert headers["content-type"] == "application/json"
    assert reason in json.loads(data)["error"]
    if status == 405:
        assert "allow" in headers


def tensor(**changes: Any) -> bytes:
    """A request for one black image, with some fields changed."""
    base = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8", "data": [0] * 784}
    return json.dumps({"inputs": [base | changes]}).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "request: "),
        (b"{", "request: "),
        (b"[]", "request: Expected `object`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs":[]}', "inputs: expected 'images' alone, given none"),
        (b"[" * 100_000, "request: "),
        (b'{"inputs":' + b"[" * 100_000, "request: "),
        (b"\xff\xfe", "request: "),
        (tensor(name="x"), "expected 'images' alone, given x"),
        (tensor(datatype="FP32"), "expected datatype UINT8, given FP32"),
        (tensor(shape=[1, 28, 28]), "expected shape [batch, 28, 28, 1]"),
        (tensor(shape=[0, 28, 28, 1], data=[]), "expected shape"),
        (tensor(shape=[-1, 28, 28, 1]), "expected shape"),
        (tensor(shape=[2**62, 28, 28, 1]), "values, given 784"),
        (tensor(data=[0] * 783), "needs 784 values, given 783"),
        (tensor(data=[256] + [0] * 783), "integers from 0 to 255"),
        (tensor(data=[-1] + [0] * 783), "integers from 0 to 255"),
        (tensor(data=[0.5] + [0] * 783), "integers from 0 to 255"),
        (tensor(data=["7"] * 784), "integers from 0 to 255"),
        (tensor(data=[[0], [0, 1]]), "integers from 0 to 255"),
        (tensor(data=None), "images: data is missing"),
        (tensor(data=[10**30] * 784), "integers from 0 to 255"),
        (tensor(data=[float("nan")] * 784), "request: "),
        (tensor().replace(b'"data"', b'"date"'), "data is missing"),
        (tensor()[:-1] + b',"outputs":[{"name":"y"}]}', "outputs: no 'y', known: logits, prob"),
        (
            tensor()[:-1] + b',"outputs":[' + b'{"name":"logits"},' * 10_000
            + b'{"name":"logits"}]}',
            "outputs: 'logits' is named twice",
        ),
        (tensor(shape=[int("9" * 4299), 28, 28, 1]), "28, 28, 1], given [999"),
        (tensor(data=[0] * 783).replace(b"0]", b"9" * 4_299 + b"]"), "integers from 0 to 255"),
    ],
)  # fmt: skip
def test_wrong_tensors_are_400_with_the_reason(server: Server, body: bytes, reason: str) -> None:
    status, _, data = server.request("POST", INFER, body)
    assert (status, reason in json.loads(data)["error"]) == (400, True), data


@pytest.mark.parametrize("digits", [19, 5_000])
def test_a_length_of_thousands_of_digits_is_an_error_in_json(server: Server, digits: int) -> None:
    for length in ("9" * digits, "0" * digits, "٣"):
        status, _, data = server.request(
            "POST", INFER, b"{}", Inference_Header_Content_Length=length.encode().decode("latin-1")
        )
        assert status == 400
        assert "not a size" in json.loads(data)["error"]


def test_numbers_that_are_not_finite(server: Server) -> None:
    path = "/v2/models/linear/infer"
    base = {"name": "features", "shape": [1, 10], "datatype": "FP32"}
    for data in ("[1e999" + ",0" * 9 + "]", "[NaN" + ",0" * 9 + "]", "[1e39" + ",0" * 9 + "]"):
        text = json.dumps({"inputs": [base | {"data": "@"}]}).replace('"@"', data)
        status, _, answer = server.request("POST", path, text.encode())
        assert status == 400, answer
    raw = np.full(10, np.inf, "<f4").tobytes()
    assert server.request("POST", path, raw, Inference_Header_Content_Length="0")[0] == 400


@settings(max_examples=150, deadline=None)
@given(
    length=st.one_of(st.integers(-5, 3000), st.sampled_from([2**31, 2**63, 2**64])),
    shape=st.lists(st.sampled_from([-1, 0, 1, 2, 28, 2**31, 2**63]), max_size=5),
    size=st.one_of(
        st.integers(-5, 2000), st.sampled_from([784, 2**63, None, True, "784", [784], 784.0])
    ),
    blob=st.integers(0, 2000),
    cut=st.integers(0, 50),
    honest=st.booleans(),
)
def test_binary_framing_that_lies_is_400_and_never_worse(
    server: Server, length: int, shape: list[int], size: Any, blob: int, cut: int, honest: bool
) -> None:
    tensor = {"name": "images", "shape": shape, "datatype": "UINT8",
              "parameters": {"binary_data_size": size}}  # fmt: skip
    body, true_length = framed({"inputs": [tensor]}, bytes(blob))
    header = true_length if honest else str(length)
    body = body[: len(body) - cut]
    status, _, data = server.request("POST", INFER, body, Inference_Header_Content_Length=header)
    whole = honest and cut == 0 and shape == [1, 28, 28, 1] and size == blob == 784
    assert status in ((200,) if whole and type(size) is int else (200, 400)), data
    if status == 400:
        assert json.loads(data)["error"]


def test_packed_bodies(server: Server, digits: mnist.Split) -> None:
    body = json_body(digits.inputs[:20])
    raw = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(body, mtime=0),
        "deflate": zlib.compress(body),
        " Deflate": raw.compress(body) + raw.flush(),
        "identity": body,
    }
    plain = server.request("POST", INFER, body)[2]
    for encoding, data in packed.items():
        status, _, answer = server.request("POST", INFER, data, Content_Encoding=encoding)
        assert (status, answer) == (200, plain), encoding
    status, headers, answer = server.request("POST", INFER, body, Accept_Encoding="gzip;q=1, br")
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer) == plain
    for encoding, data, status, reason in (
        ("br", body, 415, "expected gzip or deflate"),
        ("gzip", body, 400, "damaged"),
        ("gzip", packed["gzip"][:-9], 400, "cut short"),
        ("gzip", gzip.compress(bytes(17_000_000), mtime=0), 413, "too large"),
    ):
        found, _, answer = server.request("POST", INFER, data, Content_Encoding=encoding)
        assert found == status
        assert reason in json.loads(answer)["error"]


def test_bodies_that_are_too_large_are_refused(server: Server) -> None:
    for path in (INFER, "/v1/predict/cnn"):
        status, _, data = server.request("POST", path, bytes(16_000_001))
        assert status == 413
        assert "at most 16,000,000 bytes" in json.loads(data)["error"]
    status, _, data = server.request("POST", "/v1/predict/cnn", b"a,b", Content_Type="text/csv")
    assert status == 415
    for body, kind, reason in (
        (b"", "image/png", "the body is empty"),
        (b"xx", "image/png", "not an image in a known format"),
        (b"--x--\r\n", "multipart/form-data; boundary=x", "no file"),
        (b"??", "multipart/form-data", "multipart form"),
    ):
        status, _, data = server.request("POST", "/v1/predict/cnn", body, Content_Type=kind)
        assert status == 400
        assert reason in json.loads(data)["error"], data
    status, _, data = server.request("POST", "/v1/predict/linear", b"x", Content_Type="image/png")
    assert status == 400
    assert "takes features, not images: use /v2/models/linear/infer" in json.loads(data)["error"]


def test_the_openapi_document_is_kept(server: Server, tmp_path: Path) -> None:
    """Schemathesis makes requests from the document and compares the answers with it."""
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{server.url}/openapi.json",
            "--max-examples", "15", "--phases", "examples,fuzzing", "--seed", "1",
            "--checks", "not_a_server_error,status_code_conformance,content_type_conformance,"
            "response_schema_conformance",
        ],
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_documents_and_cards(server: Server) -> None:
    answer = json.loads(server.request("GET", "/v1/models")[2])
    assert answer["models"] == shipped()
    models = answer["summaries"]
    assert [model["name"] for model in models] == shipped()
    for model in models:
        for picture in model["pictures"]:
            status, headers, data = server.request("GET", f"/{picture}")
            assert (status, headers["content-type"], data[:4]) == (200, "image/png", b"\x89PNG")
    card = server.request("GET", "/v1/models/cnn")[2]
    assert parse(card, "served") == Bundle.open("cnn").card
    openapi = json.loads(server.request("GET", "/openapi.json")[2])
    assert openapi["components"]["parameters"]["model"]["schema"]["enum"] == shipped()
    assert openapi["info"]["version"] == zoo.__version__
    docs = server.request("GET", "/docs")[2].decode()
    assert "/v2/models/{model}/infer" in docs
    for page in ("/", "/docs"):
        _, headers, data = server.request("GET", page)
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert not re.findall(rb"(?:src|href)=\"(?:https?:)?//", data)


def test_another_server_gets_the_same_answers(server: Server, digits: mnist.Split) -> None:
    """Under uvicorn's h11 protocol, answers go out by plain ASGI and not to the transport."""
    code = (
        "import uvicorn; from serve.http.app import App; from serve.models import Models\n"
        "from serve.options import Options; from serve.server import bind\n"
        "app, listener = App(Models(Options(models=('cnn',), log='off'))), bind('127.0.0.1', 0)\n"
        "listener.listen()\nprint(listener.getsockname()[1], flush=True)\n"
        "uvicorn.Server(uvicorn.Config(app, http='h11')).run(sockets=[listener])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        connection = http.client.HTTPConnection(
            "127.0.0.1", int(process.stdout.readline()), timeout=30
        )
        with contextlib.closing(connection):
            for body in (json_body(digits.inputs[:2]), b"{", json_body(digits.inputs[:3])):
                connection.request("POST", INFER, body)
                answer = connection.getresponse()
                status, _, data = server.request("POST", INFER, body)
                assert (answer.status, answer.read()) == (status, data)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_metrics_and_access_log(start: Callable[..., Server], digits: mnist.Split) -> None:
    server = start("cnn", "--log-format", "json")
    body = json_body(digits.inputs[:8])
    for _ in range(5):
        assert server.request("POST", INFER, body)[0] == 200
    server.request("POST", INFER, b"{")
    server.request("GET", "/no%0awhere")
    text = server.request("GET", "/metrics")[2].decode()
    for line in (
        'zoo_requests_total{code="200",model="cnn"} 5.0',
        'zoo_requests_total{code="400",model="cnn"} 1.0',
        'zoo_errors_total{model="cnn"} 1.0',
        'zoo_request_seconds_count{model="cnn"} 6.0',
        'zoo_batch_rows_bucket{le="8.0",model="cnn"} 5.0',
        'zoo_batch_rows_sum{model="cnn"} 40.0',
        'zoo_queue_depth{model="cnn"} 0.0',
    ):
        assert line in text, text
    code, said = server.stop()
    assert code == 0
    lines = [json.loads(line) for line in said.splitlines()]
    assert [line["status"] for line in lines if line["path"] == INFER] == [200] * 5 + [400]
    assert [line["path"] for line in lines if line["status"] == 404] == ["/no%0awhere"]


def test_the_access_log_can_be_text_or_off(start: Callable[..., Server]) -> None:
    for args, count in ((("--log-format", "text"), 1), (("--no-access-log",), 0)):
        server = start("linear", *args)
        server.request("GET", "/v2")
        said = server.stop()[1]
        assert len(re.findall(r"127\.0\.0\.1 GET /v2 200 \d+\.\d\d ms", said)) == count


def test_a_full_queue_is_503_and_every_request_is_answered(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("googlenet", "--max-queue", "2", "--max-batch", "1", "--no-access-log")
    path, body = "/v2/models/googlenet/infer", json_body(digits.inputs[:150])
    answers: list[tuple[int, dict[str, str]]] = []

    def work() -> None:
        for _ in range(6):
            status, headers, _ = server.request("POST", path, body)
            answers.append((status, headers))

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):  # health is answered all the while
        assert server.request("GET", "/v2/health/live")[0] == 200
    codes = [status for status, _ in answers]
    assert len(codes) == 72
    assert set(codes) == {200, 503}
    assert all("retry-after" in headers for status, headers in answers if status == 503)


def test_a_request_that_takes_too_long_is_503(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("googlenet", "--timeout", "0.05", "--no-access-log")
    body = json_body(digits.inputs[:3000])
    status, _, data = server.request("POST", "/v2/models/googlenet/infer", body)
    assert status == 503
    assert "no answer within 0.05 s" in json.loads(data)["error"]


def test_slow_and_vanishing_clients_harm_nobody(start: Callable[..., Server]) -> None:
    server = start("cnn", "--timeout", "1", "--no-access-log")
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n{" % INFER.encode()
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for connection in slow:
        connection.sendall(head)
    for connection in slow[:10]:  # half of them vanish
        connection.close()
    assert server.request("POST", INFER, tensor())[0] == 200
    for connection in slow[10:]:
        connection.settimeout(10)
        assert b"503" in connection.recv(1000).partition(b"\r\n")[0]
        connection.close()
    assert server.request("POST", INFER, tensor())[0] == 200
    assert server.stop()[0] == 0


def test_sigterm_under_load_answers_every_request(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("cnn", "--no-access-log")
    body = json_body(digits.inputs[:4])
    codes: list[int] = []
    unanswered: list[BaseException] = []
    stopping = threading.Event()

    def work() -> None:
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        with contextlib.closing(client) as connection:
            ask(connection)

    def ask(connection: http.client.HTTPConnection) -> None:
        while True:
            fresh = connection.sock is None
            try:
                if fresh:
                    connection.connect()
            except OSError:  # refused: the server has stopped listening
                return
            try:
                connection.request("POST", INFER, body)
                answer = connection.getresponse()
                answer.read()
                codes.append(answer.status)
            except (OSError, http.client.HTTPException) as error:
                # one that waited to be accepted when the listener closed is refused this way
                if not (fresh and stopping.is_set() and isinstance(error, ConnectionResetError)):
                    unanswered.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_for(lambda: codes.count(200) > 100)
    stopping.set()
    code, said = server.stop()
    for thread in threads:
        thread.join(30)
    assert (code, said) == (0, "")
    assert set(codes) <= {200, 503}
    assert unanswered == []


def test_several_workers_share_the_port_and_their_metrics(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("cnn", "--workers", "2", "--no-access-log")
    body = json_body(digits.inputs[:1])
    for _ in range(40):
        assert server.request("POST", INFER, body)[0] == 200
    # the other process may count a request a moment after its answer has arrived
    for _ in range(100):
        text = server.request("GET", "/metrics")[2].decode()
        if 'zoo_requests_total{code="200",model="cnn"} 40.0' in text:
            break
        time.sleep(0.05)
    assert 'zoo_requests_total{code="200",model="cnn"} 40.0' in text
    assert server.stop()[0] == 0


def status_of(server: Server, name: str) -> int:
    """A value of the process from /proc/PID/status, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.split(name + ":")[1].split()[0]) * 1024


def cpu_seconds(server: Server) -> float:
    """The processor time that the process has taken."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def form_of(picture: bytes, count: int) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n%s\r\n' % picture
    return part * count + b"--x--\r\n"


def head_of(path: str, length: int, kind: str) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def raw(server: Server, *parts: bytes, reply: bool = True) -> bytes:
    """Send bytes as they are over a new connection; return all that comes until it is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        came = b""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                client.sendall(part)
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                came += part
    return came


GET = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = (
    b"POST /v2/models/cnn/infer HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ((GET + b"A: ", b"a" * 60_000_000), b"431"),
        ((b"GET /", b"a" * 60_000_000), b"431"),
        ((GET + b"a", b"a" * 60_000_000), b"431"),
        ((GET, b"A: a\r\n" * 8_000_000), b"431"),
        ((GET + b"A: a\r\n" * 101 + b"\r\n",), b"431"),
        ((GET + b"A: " + b"a" * 40_000 + b"\r\n\r\n",), b"431"),
        ((CHUNKED + b"0\r\nA: ", b"a" * 60_000_000), b""),
        ((CHUNKED + b"0\r\n", b"A: a\r\n" * 8_000_000), b""),
        ((CHUNKED + b"1;a=", b"a" * 60_000_000), b""),
        ((GET + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",), b"400"),
        ((b"\0" * 100,), b"400"),
    ],
    ids="value address name count hundred size trailer trailers extension length zeros".split(),
)  # fmt: skip
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    server: Server, parts: tuple[bytes, ...], status: bytes
) -> None:
    before = status_of(server, "VmRSS")
    answer = raw(server, *parts)
    if status and answer:  # a reset may overtake the answer, if more bytes were on their way
        assert answer.startswith(b"HTTP/1.1 " + status)
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert answer or len(parts) > 1
    assert status_of(server, "VmRSS") - before < 20e6
    assert server.request("GET", "/v2")[0] == 200


def test_heads_within_the_limits_are_served(server: Server) -> None:
    many = b"".join(b"A%d: a\r\n" % number for number in range(97))
    for more in (b"A: " + b"a" * 30_000 + b"\r\n", many):
        answer = raw(server, GET + more + b"Connection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
    body = tensor()
    head = head_of(INFER, len(body), "application/json")
    answer = raw(server, (head + body) * 50 + GET + b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 51


def test_connections_that_wait_are_closed(start: Callable[..., Server]) -> None:
    server = start("cnn", "--timeout", "1", "--keep-alive", "2", "--no-access-log")
    began = time.monotonic()
    assert raw(server, b"") == b"", "nothing was asked"
    assert raw(server, GET).startswith(b"HTTP/1.1 408 "), "half a head"
    assert raw(server, head_of("/v2", 100, "text/plain")).startswith(b"HTTP/1.1 405 ")
    assert time.monotonic() - began < 15
    for drops in (GET, b"x"):  # a byte now and then makes no difference
        with socket.create_connection(("127.0.0.1", server.port), timeout=1) as client:
            if drops == b"x":
                client.sendall(head_of("/v2", 100, "text/plain"))
            with contextlib.suppress(ConnectionError):
                for number in range(40):
                    client.sendall(drops[number % len(drops) :][:1])
                    time.sleep(0.25)
                pytest.fail("the connection is still open after 10 s")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with contextlib.closing(connection):
        for _ in range(2):
            connection.request("GET", "/v2")
            assert connection.getresponse().read()
            time.sleep(1.3)  # longer than --timeout, which is not about this
        assert connection.sock is not None
        assert connection.sock.recv(1) == b"", "--keep-alive is over"


@pytest.mark.skipif(sys.platform != "linux", reason="lowers the limit on open files")
def test_more_connections_than_files_are_refused_with_a_warning(
    zoo_command: list[str],
) -> None:
    limit = "import resource, os, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)); "
    command = [sys.executable, "-c", limit + "os.execv(sys.argv[1], sys.argv[1:])", *zoo_command]
    with starter(Server, command) as start:
        server = start("cnn", "--no-access-log", "--timeout", "3")
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(250)]
        wait_for(lambda: server.request("GET", "/v2")[0] == 503)
        status, _, data = server.request("GET", "/v2")
        assert status == 503
        assert "connections are open already" in json.loads(data)["error"]
        wait_for(lambda: server.request("GET", "/v2")[0] == 200)  # the idle ones were closed
        for client in idle:
            client.close()
        code, said = server.stop()
    assert code == 0
    assert said.count("connections are open, further ones get 503") == 1
    assert "Too many open files" not in said


def test_large_json_is_read_as_small_json_is(server: Server, digits: mnist.Split) -> None:
    """Flat, nested as the shape or with fewer depths, with blanks, and with a binary output."""
    rows = digits.inputs[:400]
    _, _, data = server.request("POST", INFER, rows.tobytes(), Inference_Header_Content_Length="0")
    expected = np.frombuffer(data[-400 * 10 * 4 :], "<f4").reshape(400, 10)
    for values in (rows.ravel(), rows, rows.reshape(400, 784), rows.reshape(1, 400, 784)):
        body = json.dumps({"inputs": [{"name": "images", "shape": rows.shape, "datatype": "UINT8",
                                       "data": values.tolist()}], "id": "a"}).encode()  # fmt: skip
        status, _, data = server.request("POST", INFER, body)
        assert status == 200
        answer = json.loads(data)
        assert answer["id"] == "a"
        found = np.array(answer["outputs"][1]["data"]).reshape(400, 10)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    features = np.random.default_rng(0).normal(size=(40_000, 10)).astype(np.float32)
    path = "/v2/models/linear/infer"
    base = {"name": "features", "shape": features.shape, "datatype": "FP32"}
    body = json.dumps({"inputs": [base | {"data": features.tolist()}]}).encode()
    status, _, data = server.request("POST", path, body)
    assert status == 200
    raw = server.request("POST", path, features.tobytes(), Inference_Header_Content_Length="0")[2]
    found = np.array(json.loads(data)["outputs"][0]["data"], np.float32)
    np.testing.assert_array_equal(found, np.frombuffer(raw[-160_000:], "<f4"))


def _nested(inner: bytes) -> bytes:
    return tensor(data="@").replace(b'"@"', b"[" + inner + b"]")


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_nested(b"[0]," * 3_900_000 + b"[0]"), "needs 784 values, given 3900001"),
        (_nested(b"0," * 7_500_000 + b"0"), "needs 784 values, given 7500001"),
        (_nested(b"[]," * 5_000_000 + b"[]"), "integers from 0 to 255"),
        (_nested(b"{}," * 5_000_000 + b"{}"), "integers from 0 to 255"),
        (_nested(b"0," * 500_000 + b"256"), "integers from 0 to 255"),
        (_nested(b"0," * 500_000 + b"0.5"), "integers from 0 to 255"),
        (_nested(b"[0,0],[0]," * 100_000 + b"[0,0]"), "integers from 0 to 255"),
        (_nested(b"[" * 7_000_000 + b"]" * 7_000_000), "request: "),
        (_nested(b'"' + b"[" * 1_000_000 + b'"'), "integers from 0 to 255"),
        (_nested(b"0," * 500_000), "request: "),
        (tensor(more=[[]] * 2_000_000), "needs 784"),
        (tensor(parameters={"a": [[]] * 2_000_000}), "parameters: expected at most 65,536 bytes"),
        (tensor(shape=[1] * 2_000_000), "shape: expected at most 65,536 bytes"),
        (b'{"inputs":[' + b"{}," * 5_000_000 + b"{}]}", "request: "),
        (tensor()[:-1] + b',"outputs":[' + b'{"name":"logits"},' * 800_000 + b'{"name":"a"}]}',
         "outputs: expected at most"),
        (tensor()[:-1] + b',"parameters":{"a":[' + b"[]," * 4_000_000 + b"[]]}}",
         "parameters: expected at most"),
        (b'{"a":' + b'{"a":' * 2_500_000, "request: "),
    ],
    ids="ones flat empties objects large fraction ragged deep string comma unknown tensor_"
    "parameters shape inputs outputs parameters truncated".split(),
)  # fmt: skip
def test_large_json_is_read_in_bounded_memory(server: Server, body: bytes, reason: str) -> None:
    worst = 0.0
    answers: list[tuple[int, Any, bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(server.request("POST", INFER, body)))
    thread.start()
    while thread.is_alive():
        began = time.monotonic()
        assert server.request("GET", "/v2/health/live")[0] == 200
        worst = max(worst, time.monotonic() - began)
    status, _, data = answers[0]
    if reason == "needs 784":  # an unknown field is passed over
        assert status == 200
    else:
        assert (status, reason in json.loads(data)["error"]) == (400, True), data
    assert worst < 2
    assert status_of(server, "VmHWM") < 400e6


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_large_pictures_of_many_clients_fit_half_a_gigabyte(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("--no-access-log")
    pictures = []
    for kind, mode, size, more in (
        ("JPEG", "RGB", (8660, 5774), {}),
        ("JPEG", "RGB", (8660, 5774), {"progressive": True}),
        ("PNG", "RGB", (8660, 5774), {"compress_level": 1}),
        ("PNG", "RGBA", (8000, 7999), {"compress_level": 1}),
        ("WEBP", "RGB", (4000, 3000), {"method": 0}),
        ("GIF", "P", (8660, 5774), {}),
    ):
        file = io.BytesIO()
        Image.new(mode, size, 255 if mode == "P" else "white").save(file, kind, **more)
        pictures.append(file.getvalue())
    codes: list[int] = []

    def work(number: int) -> None:
        for model in ("cnn", "resnet"):
            picture = pictures[number % len(pictures)]
            codes.append(server.request("POST", f"/v1/predict/{model}", picture)[0])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    body = json_body(digits.inputs[:1])
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert server.request("GET", "/v2/health/live")[0] == 200
        assert server.request("POST", INFER, body)[0] == 200
        assert time.monotonic() - began < 5, "the event loop waits for no picture"
    assert len(codes) == 32
    assert set(codes) <= {400, 413, 503}, "a white picture shows no digit"
    assert 400 in codes
    assert status_of(server, "VmHWM") < 512 << 20
    assert server.stop()[0] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads the time of a process from /proc")
@pytest.mark.parametrize("stays", [False, True])
def test_pictures_are_decoded_only_while_somebody_waits(
    stays: bool, start: Callable[..., Server]
) -> None:
    """Of clients that have gone, and of those whose time is over."""
    server = start("cnn", "--timeout", "3" if stays else "60", "--no-access-log")
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 2, (1000, 1000), np.uint8) * 255
    Image.fromarray(noise).convert("1").save(file, "PNG")
    form = form_of(file.getvalue(), 110)
    head = head_of("/v1/predict/cnn", len(form), "multipart/form-data; boundary=x")
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
    for client in clients:
        client.sendall(head + form)
    time.sleep(1)
    if stays:
        for client in clients:
            client.settimeout(30)
            assert client.recv(1000).startswith(b"HTTP/1.1 503 ")
    for client in clients:
        client.close()
    time.sleep(1)  # each thread may finish its picture
    before = cpu_seconds(server)
    time.sleep(1)
    assert cpu_seconds(server) - before < 0.3
    assert server.stop()[0] == 0


def test_the_server_is_well_and_ends_whatever_is_sent(start: Callable[..., Server]) -> None:
    """Forms of a thousand pictures, half of one, half a head, and a client that reads nothing."""
    server = start("cnn", "--timeout", "2", "--no-access-log")
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 2, (1000, 1000), np.uint8) * 255
    Image.fromarray(noise).convert("1").save(file, "PNG")
    form = form_of(file.getvalue(), 100)
    head = head_of("/v1/predict/cnn", len(form), "multipart/form-data; boundary=x")
    rows = np.zeros(15_000_000, np.uint8).tobytes()[: 784 * 15_000]
    infer = head_of(INFER, len(rows), "application/octet-stream")[:-2]
    unread = infer + b"Inference-Header-Content-Length: 0\r\n\r\n" + rows
    with contextlib.ExitStack() as stack:
        for request in (*[head + form] * 4, head + form[:9999], GET, unread, unread):
            client = socket.create_connection(("127.0.0.1", server.port))
            stack.enter_context(client)
            client.sendall(request)
        for path in ("/v2/health/live", "/v2/health/ready", "/metrics") * 5:
            began = time.monotonic()
            assert server.request("GET", path)[0] == 200
            assert time.monotonic() - began < 2
        began = time.monotonic()
        code, _ = server.stop()
        assert code == 0
        assert time.monotonic() - began < 15


def test_the_limits_on_pictures_can_be_set(start: Callable[..., Server]) -> None:
    server = start("cnn", "--max-pixels", 90_000, "--decode-memory", 300_000, "--no-access-log")
    for mode, size, status, reason in (
        ("L", (301, 300), 413, "301x300 is too large: expected at most 90,000 pixels"),
        ("RGB", (300, 290), 413, "it takes 348,000 bytes to decode, expected at most 300,000"),
        ("L", (300, 290), 400, "no digit"),
    ):
        file = io.BytesIO()
        Image.new(mode, size).save(file, "PNG")
        found, _, data = server.request("POST", "/v1/predict/cnn", file.getvalue())
        assert found == status
        assert reason in json.loads(data)["error"]


@pytest.mark.parametrize("kind", ["EPS", "PCX", "PPM", "TGA", "ICO", "JPEG2000", "AVIF", "SGI"])
def test_the_server_decodes_the_formats_of_browsers_and_cameras(server: Server, kind: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 40)).save(file, kind)
    status, _, data = server.request("POST", "/v1/predict/cnn", file.getvalue())
    assert (status, json.loads(data)["error"]) == (400, "not an image in a known format")


def test_a_picture_for_several_models_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = images.decode

    def counted(data: bytes, *args: Any, **more: Any) -> Any:
        decoded.append(data)
        return decode(data, *args, **more)

    monkeypatch.setattr(images, "decode", counted)
    file = io.BytesIO()
    battery.conditions(np.random.default_rng(0))["phone photo"](battery.drawn(4, 0)).save(
        file, "PNG"
    )
    spec = zoo.card("cnn").spec
    assert isinstance(spec, ImageSpec)

    async def ask() -> list[Any]:
        decoding = Decoding(Options(models=()))
        how = {"prepare": "auto", "invert": "auto"}
        try:
            first = asyncio.ensure_future(decoding.decode([file.getvalue()], spec, how))
            await asyncio.sleep(0)
            rest = [decoding.decode([file.getvalue()], spec, how) for _ in range(5)]
            first.cancel()  # one that goes takes nothing from the others
            answers = await asyncio.gather(*rest)
            return [*answers, await decoding.decode([file.getvalue()], spec, how)]
        finally:
            decoding.close()

    answers = asyncio.run(ask())
    assert len(answers) == 6
    for (array,) in answers:
        np.testing.assert_array_equal(array, decode(file.getvalue(), spec))
    assert len(decoded) <= 2


@pytest.mark.parametrize(
    ("args", "code", "reason"),
    [
        (("nope",), 2, "unknown model 'nope'"),
        (("cnn", "--port", "99999"), 2, "99999"),
        (("cnn", "--host", "192.0.2.1"), 1, "cannot listen on 192.0.2.1:8000: "),
        (("cnn", "--workers", "0"), 2, "--workers"),
    ],
)
def test_bad_usage(
    args: tuple[str, ...], code: int, reason: str, zoo_cli: Callable[..., Any]
) -> None:
    result = zoo_cli("serve", *args)
    assert result.exit_code == code
    assert reason in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(cuda_missing() is None, reason="there is a GPU here")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_device_that_is_not_there_ends_the_server(
    workers: int, zoo_process: Callable[..., Any]
) -> None:
    done = zoo_process("serve", "cnn", "--device", "cuda", "--workers", workers, "--port", 0)
    assert done.returncode == 4
    assert done.stdout == "", "no address where nothing answers"
    (line,) = done.stderr.splitlines()
    assert line.startswith("zoo: device 'cuda' is not available: ")


def test_a_taken_port_is_said_so(server: Server, zoo_process: Callable[..., Any]) -> None:
    done = zoo_process("serve", "cnn", "--port", server.port)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{server.port}: Address already in use" in done.stderr


def test_a_bundle_can_have_another_name(
    start: Callable[..., Server], zoo_cli: Callable[..., Any], digits: mnist.Split
) -> None:
    bundle = Bundle.open("cnn").path
    refused = zoo_cli("serve", "cnn", bundle)
    assert refused.exit_code == 2
    assert "are both named 'cnn': put another name before one" in refused.stderr
    server = start("cnn", f"mine={bundle}")
    answers = []
    for name in ("cnn", "mine"):
        assert json.loads(server.request("GET", f"/v2/models/{name}")[2])["name"] == name
        _, _, answer = server.request(
            "POST", f"/v2/models/{name}/infer", json_body(digits.inputs[:2])
        )
        answers.append(json.loads(answer))
        assert answers[-1]["model_name"] == name
    assert answers[0]["outputs"] == answers[1]["outputs"]
