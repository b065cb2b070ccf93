"""gRPC as its clients meet it: a real process on loopback, unmodified clients, real faults."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from conftest import ROOT, wait_for
from google.protobuf import message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from test_server import INFER, Server, json_body, starter, status_of

from serve.grpc import service as ours
from zoo import install
from zoo.datasets import mnist

Serving = health_pb2.HealthCheckResponse
_request = message_factory.GetMessageClass(
    ours._pool.FindMessageTypeByName("inference.ModelInferRequest")
)


class Both(Server):
    """A `zoo serve --grpc-port` process and its two addresses."""

    def __init__(self, command: list[str], *args: object) -> None:
        super().__init__(command, *args, "--grpc-port", 0)
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        assert line.startswith("grpc://127.0.0.1:"), line
        self.grpc = line.removeprefix("grpc://")


@pytest.fixture
def start(zoo_command: list[str]) -> Iterator[Callable[..., Both]]:
    """Start servers with options; what still runs at the end is stopped."""
    with starter(Both, zoo_command) as begin:
        yield begin


def body(images: np.ndarray, model: str = "cnn") -> bytes:
    tensor = {"name": "images", "datatype": "UINT8", "shape": images.shape}
    raw = [images.tobytes()]
    data: bytes = _request(
        model_name=model, inputs=[tensor], raw_input_contents=raw
    ).SerializeToString()
    return data


def caller(channel: grpc.Channel) -> Any:
    return channel.unary_unary(f"/{ours.SERVICE}/ModelInfer")


def test_unmodified_clients_and_wrong_requests(start: Callable[..., Both]) -> None:
    server = start("cnn", "linear", "--no-access-log")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "grpc_check.py", server.grpc, server.address],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout == "all right\n", done.stderr[-3000:]
    assert server.stop() == (0, "")


def test_requests_are_counted_and_logged_with_those_of_http(
    start: Callable[..., Both], digits: mnist.Split
) -> None:
    server = start("cnn")
    with grpc.insecure_channel(server.grpc) as channel:
        for _ in range(3):
            caller(channel)(body(digits.inputs[:4]))
        with pytest.raises(grpc.RpcError):
            caller(channel)(body(digits.inputs[:4], "nope"))
    assert server.request("POST", INFER, json_body(digits.inputs[:1]))[0] == 200
    text = server.request("GET", "/metrics")[2].decode()
    for line in (
        'zoo_requests_total{code="200",model="cnn"} 4.0',
        'zoo_requests_total{code="404",model="-"} 1.0',
        'zoo_batch_rows_sum{model="cnn"} 13.0',
    ):
        assert line in text, text
    said = server.stop()[1]
    found = re.findall(r"127\.0\.0\.1 POST (\S+) (\d+) \d+\.\d\d ms", said)
    path = f"/{ours.SERVICE}/ModelInfer"
    assert found == [(path, "200")] * 3 + [(path, "404"), (INFER, "200")]


def test_a_full_queue_is_unavailable(start: Callable[..., Both], digits: mnist.Split) -> None:
    server = start("googlenet", "--max-queue", "2", "--max-batch", "1", "--no-access-log")
    data = body(digits.inputs[:150], "googlenet")
    with grpc.insecure_channel(server.grpc) as channel:
        waiting = [caller(channel).future(data) for _ in range(30)]
        codes = [answer.code() for answer in waiting if answer.exception() or True]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
        refused = next(answer for answer in waiting if answer.exception())
        assert "googlenet: 2 requests wait already" in refused.details()
        gone = caller(channel).future(data)
        gone.cancel()
        with pytest.raises(grpc.RpcError) as caught:
            caller(channel)(body(digits.inputs[:5000], "googlenet"), timeout=0.01)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert caller(channel)(body(digits.inputs[:1], "googlenet"))
    assert server.stop() == (0, "")


def test_sigterm_under_load_answers_every_request(
    start: Callable[..., Both], digits: mnist.Split
) -> None:
    server = start("cnn", "--no-access-log")
    data = body(digits.inputs[:4])
    codes: list[grpc.StatusCode] = []
    before: list[grpc.StatusCode] = []
    health: list[int] = []
    stopping = threading.Event()

    def work() -> None:
        with grpc.insecure_channel(server.grpc) as channel:
            while True:
                early = not stopping.is_set()
                try:
                    caller(channel)(data, timeout=20)
                    codes.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    (before if early and not stopping.is_set() else codes).append(error.code())
                    return

    def watch() -> None:
        with grpc.insecure_channel(server.grpc) as channel, contextlib.suppress(grpc.RpcError):
            stub = health_pb2_grpc.HealthStub(channel)
            for answer in stub.Watch(health_pb2.HealthCheckRequest()):
                health.append(answer.status)

    threads = [threading.Thread(target=work) for _ in range(8)]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    wait_for(lambda: codes.count(grpc.StatusCode.OK) > 100 and bool(health))
    stopping.set()
    ended = server.stop()
    for thread in threads:
        thread.join(30)
    assert ended == (0, "")
    assert before == []
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert health == [Serving.SERVING, Serving.NOT_SERVING]


def queued(server: Both, model: str) -> float:
    """Return how many requests wait, by the server's metrics."""
    text = server.request("GET", "/metrics")[2].decode()
    found = re.search(rf'zoo_queue_depth{{model="{model}"}} (\S+)', text)
    assert found is not None
    return float(found[1])


def test_what_runs_when_the_end_comes_is_answered(
    start: Callable[..., Both], digits: mnist.Split
) -> None:
    server = start("googlenet", "--no-access-log")
    with grpc.insecure_channel(server.grpc) as channel:
        caller(channel)(body(digits.inputs[:1], "googlenet"))
        waiting = [
            caller(channel).future(body(digits.inputs[:3000], "googlenet")) for _ in range(4)
        ]
        wait_for(lambda: queued(server, "googlenet") == 3)  # the fourth runs
        assert server.stop() == (0, "")
        assert [answer.code() for answer in waiting] == [grpc.StatusCode.OK] * 4
    with (
        grpc.insecure_channel(server.grpc) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        caller(channel)(body(digits.inputs[:1], "googlenet"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_several_workers_share_the_grpc_port(
    start: Callable[..., Both], digits: mnist.Split
) -> None:
    server = start("cnn", "--workers", "2", "--no-access-log")
    data = body(digits.inputs[:1])
    for _ in range(40):  # a connection each, so that both workers get some
        with grpc.insecure_channel(
            server.grpc, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            caller(channel)(data, wait_for_ready=True, timeout=30)
    text = server.request("GET", "/metrics")[2].decode()
    assert 'zoo_requests_total{code="200",model="cnn"} 40.0' in text
    assert server.stop()[0] == 0


def test_a_taken_grpc_port_and_a_missing_package_are_said_so(
    start: Callable[..., Both], zoo_process: Callable[..., Any], zoo_command: list[str]
) -> None:
    server = start("linear")
    port = server.grpc.rpartition(":")[2]
    done = zoo_process("serve", "linear", "--port", 0, "--grpc-port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"zoo: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    done = zoo_process("serve", "linear", "--port", 8000, "--grpc-port", 8000)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "zoo: --port and --grpc-port are both 8000: expected two ports\n"
    code = (
        "import sys; sys.modules['grpc'] = None; import cli\n"
        "sys.argv = ['zoo', 'serve', '--grpc-port', '0']; cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"zoo: gRPC needs the package 'grpc', which is not installed: {install.command('grpc')}\n"
    )


def test_without_the_option_nothing_of_grpc_is_imported(zoo_command: list[str]) -> None:
    code = (
        "import sys, serve.server; from serve.http.app import App\n"
        "from serve.models import Models; from serve.options import Options\n"
        "App(Models(Options(models=('linear',))))\n"
        "print(sorted({'grpc', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_shipped_descriptors_are_those_of_the_proto_files() -> None:
    from grpc_tools import protoc

    folder = ROOT / "serve" / "grpc" / "proto"
    words = ["", f"-I{folder}", "--descriptor_set_out=out.binpb", "inference.proto"]
    assert protoc.main(words) == 0
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    with open("out.binpb", "rb") as file:
        made = FileDescriptorSet.FromString(file.read())
    assert made == FileDescriptorSet.FromString((folder / "services.binpb").read_bytes())


def test_large_messages_of_many_clients_fit_into_512_mib(start: Callable[..., Both]) -> None:
    server = start("cnn", "--no-access-log")
    rows = 20_000
    shape = [rows, 28, 28, 1]

    def message(contents: dict[str, Any], raw: list[bytes], inputs: int = 1) -> bytes:
        tensor = {"name": "images", "datatype": "UINT8", "shape": shape, "contents": contents}
        request = _request(model_name="cnn", inputs=[tensor] * inputs, raw_input_contents=raw)
        data: bytes = request.SerializeToString()
        return data

    messages = {
        "raw": message({}, [bytes(rows * 784)]),
        "typed": message({"uint_contents": np.ones(rows * 784, np.uint8).tolist()}, []),
        "of other size": message({"uint_contents": np.ones(rows * 783, np.uint8).tolist()}, []),
        "many tensors": message({}, [], 500_000),
        "to another method": bytes([26, 128, 137, 122]) + bytes(2_000_000),  # an unknown field
    }
    options = [
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", -1),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    codes: list[str] = []

    def call(name: str, data: bytes) -> None:
        with grpc.insecure_channel(server.grpc, options=options) as channel:
            method = "ServerLive" if name == "to another method" else "ModelInfer"
            try:
                channel.unary_unary(f"/{ours.SERVICE}/{method}")(data, timeout=60)
                codes.append("OK")
            except grpc.RpcError as error:
                codes.append(error.code().name)

    for name, data in messages.items():
        threads = [threading.Thread(target=call, args=(name, data)) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(codes) == 16 * len(messages)
    assert set(codes) == {"OK", "UNAVAILABLE", "INVALID_ARGUMENT"}
    assert status_of(server, "VmHWM") < 512 << 20
    text = server.request("GET", "/metrics")[2].decode()
    assert 'zoo_requests_total{code="400",model="cnn"}' in text
    with grpc.insecure_channel(server.grpc) as channel:
        caller(channel)(body(np.zeros((2, 28, 28, 1), np.uint8)), timeout=10)
    assert server.stop()[0] == 0


def test_half_a_message_is_given_up(start: Callable[..., Both], digits: mnist.Split) -> None:
    server = start("cnn", "--no-access-log", "--timeout", 1)
    with grpc.insecure_channel(server.grpc) as channel:
        streams = [
            channel.stream_unary(f"/{ours.SERVICE}/ModelInfer").future(silent(5)) for _ in range(8)
        ]
        codes = [stream.code() for stream in streams]
        assert set(codes) == {grpc.StatusCode.UNAVAILABLE}
        caller(channel)(body(digits.inputs[:1]), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            channel.stream_unary(f"/{ours.SERVICE}/ModelInfer")(iter(()), timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        for stream in streams:
            stream.cancel()
    text = server.request("GET", "/metrics")[2].decode()
    assert 'zoo_requests_total{code="503",model="-"} 8.0' in text
    assert 'zoo_requests_total{code="400",model="-"} 1.0' in text
    assert server.stop()[0] == 0


def silent(seconds: float) -> Iterator[bytes]:
    """Send nothing for so long."""
    threading.Event().wait(seconds)
    yield from ()
