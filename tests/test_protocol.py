"""What clients of V2 servers expect beside infer, over HTTP: Triton's extensions, KServe's V1."""

from __future__ import annotations

import base64
import gzip
import itertools
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import tritonclient.http as triton
from conftest import ROOT, wait_for
from test_server import INFER, Server, json_body, starter
from tritonclient.utils import InferenceServerException

import zoo
from zoo import Session
from zoo.bundle.folder import Bundle, shipped
from zoo.datasets import mnist


@pytest.fixture(scope="module")
def server(zoo_command: list[str]) -> Iterator[Server]:
    """All shipped models."""
    server = Server(zoo_command, "--no-access-log")
    yield server
    assert server.stop() == (0, "")


@pytest.fixture
def start(zoo_command: list[str]) -> Iterator[Callable[..., Server]]:
    """Start servers with options; what still runs at the end is stopped."""
    with starter(Server, zoo_command) as begin:
        yield begin


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.address)
    yield client
    client.close()


def ask(server: Server, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    body = None if document is None else json.dumps(document).encode()
    status, headers, data = server.request(method, path, body)
    assert headers["content-type"] == "application/json"
    return status, json.loads(data)


def digit_input(images: np.ndarray) -> triton.InferInput:
    tensor = triton.InferInput("images", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    return tensor


def test_statistics_count_requests_rows_batches_and_failures(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("cnn", "linear", "--no-access-log")
    client = triton.InferenceServerClient(server.address)
    for rows in (1, 4, 7):
        client.infer("cnn", [digit_input(digits.inputs[:rows])])
    with pytest.raises(InferenceServerException, match="no answer within 1e-06 s"):
        client.infer("cnn", [digit_input(digits.inputs[:2000])], timeout=1)
    (row,) = client.get_inference_statistics("cnn")["model_stats"]
    assert (row["name"], row["version"]) == ("cnn", "1")
    assert row["inference_count"] >= 12
    assert row["execution_count"] >= 3
    stats = row["inference_stats"]
    assert stats["success"]["count"] == 3
    assert stats["fail"]["count"] == 1
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert [stats[part]["count"] for part in parts] == [3] * 4
    assert 0 < sum(stats[part]["ns"] for part in parts) <= stats["success"]["ns"] < 60e9
    assert stats["cache_hit"] == stats["cache_miss"] == {"count": 0, "ns": 0}
    rows = client.get_inference_statistics()["model_stats"]
    assert [row["name"] for row in rows] == ["cnn", "linear"]
    assert rows[1]["last_inference"] == rows[1]["inference_count"] == 0
    assert ask(server, "GET", "/v2/models/nope/stats")[0] == 404
    assert ask(server, "GET", "/v2/models/cnn/versions/2/stats")[0] == 404
    client.close()


def test_statistics_are_those_of_all_workers(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("cnn", "--workers", "2", "--no-access-log")
    for _ in range(20):  # a connection each
        assert server.request("POST", INFER, json_body(digits.inputs[:2]))[0] == 200
    for _ in range(6):
        _, document = ask(server, "GET", "/v2/models/stats")
        (row,) = document["model_stats"]
        assert row["inference_stats"]["success"]["count"] == 20
        assert row["inference_count"] == 40
    assert server.stop()[0] == 0


def test_the_configuration_is_that_of_the_card(client: triton.InferenceServerClient) -> None:
    config = client.get_model_config("logistic", "1")
    assert (config["name"], config["platform"]) == ("logistic", "onnxruntime_onnx")
    assert config["max_batch_size"] == 64
    assert config["input"] == [{"name": "features", "data_type": "TYPE_FP32", "dims": [30]}]
    assert [output["name"] for output in config["output"]] == ["logits", "probabilities"]
    assert "dynamic_batching" in config
    with pytest.raises(InferenceServerException, match="unknown model 'nope'"):
        client.get_model_config("nope")


def test_the_repository_is_listed_and_closed_unless_opened(
    server: Server, client: triton.InferenceServerClient
) -> None:
    index = client.get_model_repository_index()
    assert [row["name"] for row in index] == shipped()
    assert {(row["version"], row["state"]) for row in index} == {("1", "READY")}
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="--model-control explicit allows it"):
            change("cnn")
    assert client.is_model_ready("cnn")
    status, answer = ask(server, "POST", "/v2/repository/index", {"ready": "yes"})
    assert (status, answer["error"]) == (400, "ready: expected true or false, given 'yes'")


def test_models_are_unloaded_and_loaded_again(
    start: Callable[..., Server], digits: mnist.Split, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(Bundle.open("cnn").path, tmp_path / "bundle"))
    server = start(f"mine={folder}", "linear", "--model-control", "explicit", "--no-access-log")
    client = triton.InferenceServerClient(server.address)

    def infer() -> np.ndarray:
        outputs = client.infer("mine", [digit_input(digits.inputs[:3])])
        array: np.ndarray = outputs.as_numpy("logits")
        return array

    first = infer()
    client.unload_model("mine")
    assert not client.is_model_ready("mine")
    assert client.is_model_ready("linear")
    states = {row["name"]: row["state"] for row in client.get_model_repository_index()}
    assert states == {"mine": "UNAVAILABLE", "linear": "READY"}
    assert ask(server, "POST", "/v2/repository/index", {"ready": True})[1] == [
        {"name": "linear", "version": "1", "state": "READY", "reason": ""}
    ]
    with pytest.raises(InferenceServerException, match="model 'mine' is not loaded"):
        infer()
    for path in ("/v1/models/mine:predict", "/v1/predict/mine"):
        assert server.request("POST", path, b"{}", Content_Type="image/png")[0] == 404
    assert ask(server, "GET", "/v1/models")[1]["models"] == ["linear"]
    assert server.request("GET", "/metrics")[0] == 200
    client.unload_model("mine")  # again: it is so already

    client.load_model("mine")
    np.testing.assert_array_equal(infer(), first)

    for file in Bundle.open("softmax").path.iterdir():  # another model takes its place
        shutil.copy(file, folder / file.name)
    np.testing.assert_array_equal(infer(), first)
    client.load_model("mine")
    (want, _) = Session("softmax", device="cpu").run(digits.inputs[:3])
    np.testing.assert_allclose(infer(), want, atol=1e-4)

    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(InferenceServerException, match="cannot load 'mine': "):
        client.load_model("mine")
    np.testing.assert_allclose(infer(), want, atol=1e-4)  # the one before stays
    with pytest.raises(InferenceServerException, match="given parameters config"):
        client.load_model("mine", config="{}")
    with pytest.raises(InferenceServerException, match="unknown model 'nope', known: mine, linear"):
        client.load_model("nope")
    client.close()
    assert server.stop() == (0, "")


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_what_is_unloaded_stays_so_when_all_are_read_anew(
    start: Callable[..., Server], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(Bundle.open("linear").path, tmp_path / "mine"))
    server = start(f"mine={folder}", "linear", "--model-control", "explicit", "--no-access-log")
    assert ask(server, "POST", "/v2/repository/models/linear/unload", {})[0] == 200
    card = json.loads((folder / "card.json").read_text("utf-8"))
    (folder / "card.json").write_text(json.dumps(card | {"title": "Changed"}), "utf-8")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: ask(server, "GET", "/v1/models/mine")[1]["title"] == "Changed")
    states = ask(server, "POST", "/v2/repository/index", {})[1]
    assert {row["name"]: row["state"] for row in states} == {
        "mine": "READY",
        "linear": "UNAVAILABLE",
    }
    assert ask(server, "POST", "/v2/repository/models/linear/load", {})[0] == 200
    assert ask(server, "GET", "/v2/models/linear/ready")[0] == 200


def test_what_runs_while_a_model_is_loaded_again_is_answered(
    start: Callable[..., Server], digits: mnist.Split
) -> None:
    server = start("googlenet", "--model-control", "explicit", "--no-access-log")
    client = triton.InferenceServerClient(server.address, concurrency=6)
    waiting = [
        client.async_infer("googlenet", [digit_input(digits.inputs[:500])]) for _ in range(4)
    ]
    other = triton.InferenceServerClient(server.address)
    other.load_model("googlenet")
    other.unload_model("googlenet")
    for request in waiting:
        assert request.get_result().as_numpy("logits").shape == (500, 10)
    other.close()
    client.close()


def test_loading_needs_one_worker(zoo_cli: Callable[..., Any]) -> None:
    result = zoo_cli("serve", "cnn", "--model-control", "explicit", "--workers", 2)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--model-control explicit needs --workers 1, given 2" in result.stderr


def test_trace_and_logging_are_shown_and_not_changed(
    server: Server, client: triton.InferenceServerClient
) -> None:
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("cnn")["trace_level"] == ["OFF"]
    assert client.update_trace_settings(settings={"trace_level": ["OFF"], "trace_rate": None})
    assert client.get_log_settings()["log_verbose_level"] == 0
    assert client.update_log_settings({"log_info": True})["log_info"] is True
    for change, settings, reason in (
        (client.update_trace_settings, {"trace_level": ["TIMESTAMPS"]}, "cannot be changed"),
        (client.update_trace_settings, {"x": "1"}, "trace: no setting 'x', known: trace_file"),
        (client.update_log_settings, {"log_verbose_level": 1}, "logging: cannot be changed"),
    ):
        with pytest.raises(InferenceServerException, match=reason):
            change(settings=settings)
    assert ask(server, "GET", "/v2/models/nope/trace/setting")[0] == 404
    assert ask(server, "POST", "/v2/logging", [1])[0] == 400


def test_shared_memory_is_refused_wherever_it_is_named(
    server: Server, client: triton.InferenceServerClient, digits: mnist.Split
) -> None:
    """An answer with 200 would leave the client to read what its memory held before."""
    reason = "shared memory is not supported"
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_system_shared_memory()  # what Triton's examples begin with
    with pytest.raises(InferenceServerException, match=reason):
        client.register_system_shared_memory("region", "/key", 64)
    with pytest.raises(InferenceServerException, match=reason):
        client.register_cuda_shared_memory("region", b"handle", 0, 64)
    with pytest.raises(InferenceServerException, match="no shared memory region 'region'"):
        client.get_system_shared_memory_status("region")
    tensor = digit_input(digits.inputs[:1])
    output = triton.InferRequestedOutput("logits")
    output.set_shared_memory("region", 40)
    with pytest.raises(InferenceServerException, match=f"logits: {reason}"):
        client.infer("cnn", [tensor], outputs=[output])
    tensor.set_shared_memory("region", 784)
    with pytest.raises(InferenceServerException, match=f"images: {reason}"):
        client.infer("cnn", [tensor])


@pytest.mark.parametrize("binary", [True, False])
def test_classification_names_the_best_classes(
    client: triton.InferenceServerClient, digits: mnist.Split, binary: bool
) -> None:
    tensor = digit_input(digits.inputs[:5])
    for count in (1, 3, 10, 99):
        wanted = [
            triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=count),
            triton.InferRequestedOutput("logits", binary_data=binary),
        ]
        found = client.infer("cnn", [tensor], outputs=wanted)
        assert found.get_output("probabilities")["datatype"] == "BYTES"
        texts = found.as_numpy("probabilities")
        assert texts.shape == (5, min(count, 10))
        order = np.argsort(-found.as_numpy("logits"), axis=1)
        for row, numbers in zip(texts, order, strict=True):
            parts = [bytes(text).decode() if binary else text for text in row]
            values, indices, labels = zip(*(text.split(":") for text in parts), strict=True)
            assert [int(number) for number in indices] == numbers[:count].tolist()
            assert indices == labels
            assert sorted(map(float, values), reverse=True) == [float(value) for value in values]
    features = triton.InferInput("features", [1, 30], "FP32")
    features.set_data_from_numpy(np.ones((1, 30), np.float32))
    named = triton.InferRequestedOutput("probabilities", class_count=2)
    rows = client.infer("logistic", [features], outputs=[named]).as_numpy("probabilities")[0]
    assert {bytes(text).rpartition(b":")[2] for text in rows} == {b"benign", b"malignant"}


@pytest.mark.parametrize(
    ("model", "output", "count", "reason"),
    [
        ("cnn", "logits", -1, "a positive integer, given -1"),
        ("cnn", "logits", "3", "a positive integer, given '3'"),
        ("cnn", "logits", True, "a positive integer, given True"),
        ("linear", "prediction", 1, "prediction: classification: linear has no classes"),
    ],
)
def test_classification_that_cannot_be(
    server: Server, model: str, output: str, count: Any, reason: str
) -> None:
    spec = zoo.card(model).inputs[0]
    size = int(np.prod(spec.shape[1:]))
    datatype = "UINT8" if spec.dtype == "uint8" else "FP32"
    tensor = {"name": spec.name, "shape": [1, *spec.shape[1:]], "datatype": datatype,
              "data": [0] * size}  # fmt: skip
    outputs = [{"name": output, "parameters": {"classification": count}}]
    document = {"inputs": [tensor], "outputs": outputs}
    status, answer = ask(server, "POST", f"/v2/models/{model}/infer", document)
    assert (status, reason in answer["error"]) == (400, True), answer


def test_null_is_absence(server: Server, digits: mnist.Split) -> None:
    request = msgspec.json.decode(json_body(digits.inputs[:1]))
    plain = server.request("POST", INFER, json.dumps(request).encode())[2]
    request |= {"id": None, "parameters": None, "outputs": None}
    request["inputs"][0]["parameters"] = None
    assert server.request("POST", INFER, json.dumps(request).encode())[::2] == (200, plain)
    request["outputs"] = [{"name": "logits", "parameters": None}]
    assert ask(server, "POST", INFER, request)[0] == 200
    request["inputs"][0] |= {"data": None, "parameters": {"binary_data_size": 784}}
    head = json.dumps(request).encode()
    body = head + digits.inputs[0].tobytes()
    status = server.request("POST", INFER, body, Inference_Header_Content_Length=str(len(head)))[0]
    assert status == 200
    for part in ("inputs", "name", "shape", "datatype"):
        wrong = msgspec.json.decode(json_body(digits.inputs[:1]))
        (wrong if part == "inputs" else wrong["inputs"][0])[part] = None
        assert ask(server, "POST", INFER, wrong)[0] == 400, part


@pytest.mark.parametrize("value", [-1, 1.5, "100", True, 2**70])
def test_a_timeout_that_is_none_is_refused(server: Server, digits: mnist.Split, value: Any) -> None:
    body = json_body(digits.inputs[:1], parameters={"timeout": value})
    status, _, data = server.request("POST", INFER, body)
    assert (status, "timeout: expected microseconds" in data.decode()) == (400, True), data


def test_a_timeout_of_the_request_is_kept(server: Server, digits: mnist.Split) -> None:
    for timeout, expected in ((0, 200), (9_000_000, 200), (2**62, 200), (500, 503)):
        body = json_body(digits.inputs[:3000], parameters={"timeout": timeout})
        status, _, data = server.request("POST", "/v2/models/googlenet/infer", body)
        assert status == expected, (timeout, data[:200])


def test_v1_predictions_are_those_of_v2(server: Server, digits: mnist.Split) -> None:
    images = digits.inputs[:4]
    logits, probabilities = Session("cnn", device="cpu").run(images)
    for instances in (images.tolist(), [{"images": image} for image in images.tolist()]):
        status, answer = ask(server, "POST", "/v1/models/cnn:predict", {"instances": instances})
        assert status == 200
        rows = answer["predictions"]
        np.testing.assert_allclose([row["logits"] for row in rows], logits, atol=1e-4)
        np.testing.assert_allclose([row["probabilities"] for row in rows], probabilities, atol=1e-4)
    many = {"instances": digits.inputs[:300].tolist()}  # large: read in a thread
    status, answer = ask(server, "POST", "/v1/models/cnn:predict", many)
    wanted = Session("cnn", device="cpu").run(digits.inputs[:300])[0]
    given = [row["logits"] for row in answer["predictions"]]
    np.testing.assert_allclose(given, wanted, atol=1e-4)
    many["instances"][-1] = [1]
    status, answer = ask(server, "POST", "/v1/models/cnn:predict", many)
    assert (status, "expected integers from 0 to 255" in answer["error"]) == (400, True), answer
    rows = np.arange(20.0).reshape(2, 10)
    status, answer = ask(server, "POST", "/v1/models/linear:predict", {"instances": rows.tolist()})
    (want,) = Session("linear", device="cpu").run(rows.astype(np.float32))
    np.testing.assert_allclose(answer["predictions"], want, rtol=1e-5)
    assert ask(server, "GET", "/v1/models/cnn")[1]["ready"] is True
    assert ask(server, "GET", "/v1/models")[1]["models"] == shipped()
    for model, instances, code, reason in (
        ("nope", [], 404, "unknown model 'nope'"),
        ("cnn", [], 400, "of shape [28, 28, 1], given none"),
        ("cnn", [[1]], 400, "each of shape [28, 28, 1], given [1]"),
        ("cnn", [{"x": 1}], 400, "an object with 'images' alone, given x"),
        ("cnn", [[256] * 784], 400, "integers from 0 to 255"),
        ("linear", [["a"] * 10], 400, "expected numbers"),
        ("linear", [[1e39] * 10], 400, "expected finite numbers"),
        ("linear", 3, 400, "Expected `array`"),
    ):
        path = f"/v1/models/{model}:predict"
        status, answer = ask(server, "POST", path, {"instances": instances})
        assert (status, reason in answer["error"]) == (code, True), answer
    assert ask(server, "GET", "/v1/models/cnn:predict")[0] in (404, 405)


def test_v1_takes_image_files_in_base64(server: Server) -> None:
    folder = ROOT / "examples" / "digits"
    files = [(folder / name).read_bytes() for name in ("3-dark-mode.jpg", "7-phone.jpg")]
    texts = [base64.b64encode(file).decode() for file in files]
    for instances in ([{"b64": text} for text in texts], [{"images": {"b64": t}} for t in texts]):
        body = {"instances": instances}
        status, answer = ask(server, "POST", "/v1/models/cnn:predict", body)
        assert status == 200, answer
        assert [int(np.argmax(row["logits"])) for row in answer["predictions"]] == [3, 7]
    for model, instance, reason in (
        ("cnn", {"b64": "?"}, "instances[1]: b64: "),
        ("cnn", {"b64": "YWJj"}, "instances[1]: "),
        ("cnn", {"b64": 3}, 'instances[1]: expected {"b64": "..."}'),
        ("cnn", [1], 'instances[1]: expected {"b64": "..."}'),
        ("linear", {"b64": texts[0]}, "linear takes features, not images"),
    ):
        body = {"instances": [{"b64": texts[0]}, instance]}
        status, answer = ask(server, "POST", f"/v1/models/{model}:predict", body)
        assert (status, reason in answer["error"]) == (400, True), answer


def test_refusals_before_a_request_is_read_are_documented(server: Server) -> None:
    paths = ask(server, "GET", "/openapi.json")[1]["paths"]
    infer, live = paths["/v2/models/{model}/infer"]["post"], paths["/v2/health/live"]["get"]
    for headers, status in (
        ({"Host": "evil.example"}, 400),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        assert server.request("POST", INFER, b"{}", **headers)[0] == status
        assert str(status) in infer["responses"]
    assert {"401", "431"} <= set(infer["responses"])
    assert "401" not in live["responses"]


def test_gzip_in_several_members(server: Server, digits: mnist.Split) -> None:
    body = json_body(digits.inputs[:20])
    plain = server.request("POST", INFER, body)[2]
    cuts = [0, 1, 2000, 2000, len(body)]
    parts = [gzip.compress(body[a:b], mtime=0) for a, b in itertools.pairwise(cuts)]
    for packed in (b"".join(parts), gzip.compress(body) + gzip.compress(b"") * 900):
        found = server.request("POST", INFER, packed, Content_Encoding="gzip")
        assert found[::2] == (200, plain)
    megabytes = gzip.compress(bytes(6_000_000), mtime=0)
    for packed, status, reason in (
        (b"".join(parts)[:-5], 400, "cut short"),
        (gzip.compress(body) + b"not gzip", 400, "damaged"),
        (megabytes * 3, 413, "too large"),
        (gzip.compress(b"") * 5000, 400, "more than 1000 members"),
    ):
        found, _, answer = server.request("POST", INFER, packed, Content_Encoding="gzip")
        assert (found, reason in json.loads(answer)["error"]) == (status, True), answer


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True), ("GZIP;q=0.5", True), ("*", True), ("br, *;q=0.1", True),
        ("gzip;q=0", False), ("gzip; q=0.0, br", False), ("*;q=0", False), ("br", False),
        ("gzip;q=0, *", False), ("identity", False), ("gzip;q=x", False), ("gzip;q=nan", False),
    ],
)  # fmt: skip
def test_answers_are_packed_for_those_who_take_it(
    server: Server, digits: mnist.Split, accepted: str, packed: bool
) -> None:
    body = json_body(digits.inputs[:20])
    plain = server.request("POST", INFER, body)
    assert plain[1]["vary"].lower() == "accept-encoding"
    status, headers, data = server.request("POST", INFER, body, Accept_Encoding=accepted)
    assert (status, headers.get("content-encoding")) == (200, "gzip" if packed else None)
    assert headers["vary"].lower() == "accept-encoding"
    assert (gzip.decompress(data) if packed else data) == plain[2]


def test_the_icon(server: Server) -> None:
    status, headers, data = server.request("GET", "/favicon.ico")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
    assert data.startswith(b"<svg")
