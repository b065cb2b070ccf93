"""`zoo.Session`: any batch size, exact contract, the device asked for."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.datasets import mnist
from zoo.errors import DataError, DeviceError, UsageError, ZooError
from zoo.runtime.cuda import Runner
from zoo.runtime.providers import cpu_session, cuda_missing


@pytest.fixture(scope="module")
def session() -> zoo.Session:
    return zoo.Session("cnn", device="cpu")


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 255, 256, 257, 1000])
def test_any_batch_size(session: zoo.Session, batch: int, digits: mnist.Split) -> None:
    found = session.predict(digits.inputs[:batch])
    assert found.probabilities.shape == (batch, 10)
    assert len(found.labels) == len(found.indices) == batch
    assert found.labels == [str(index) for index in found.indices]
    if batch:
        assert np.mean(found.indices == digits.targets[:batch]) > 0.97
        np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-5)
        one = np.concatenate([session.predict(image[np.newaxis]).probabilities
                              for image in digits.inputs[:min(batch, 20)]])  # fmt: skip
        np.testing.assert_allclose(found.probabilities[:20], one, atol=1e-5)


def test_gray_images_need_no_channel_axis(session: zoo.Session, digits: mnist.Split) -> None:
    with_axis = session.predict(digits.inputs[:5]).probabilities
    np.testing.assert_array_equal(
        session.predict(digits.inputs[:5, :, :, 0]).probabilities, with_axis
    )


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, 28, 28, 3), np.uint8),
        np.zeros((2, 3, 28, 28), np.float32),
        np.zeros((2, 200, 200), np.uint8),
        np.zeros((2, 2, 1, 28, 28), np.uint8),
        np.zeros((2, 783), np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_another_shape_or_type_is_refused(session: zoo.Session, inputs: np.ndarray) -> None:
    expected = r"images: expected uint8 \[batch, 28, 28, 1\], given "
    with pytest.raises(DataError, match=expected):
        session.predict(inputs)


def test_numbers_that_are_not_finite_are_refused() -> None:
    linear = zoo.Session("linear", device="cpu")
    features = np.ones((2, 10), np.float32)
    assert linear.predict(features).values.shape == (2,)
    assert linear.predict(features).labels == []
    features[1, 3] = np.nan
    with pytest.raises(DataError, match="expected finite numbers"):
        linear.predict(features)


def test_devices() -> None:
    assert zoo.Session("linear", device="cpu").device == "cpu"
    assert zoo.Session("linear").device in ("cpu", "cuda")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        zoo.Session("linear", device="gpu")


@pytest.mark.skipif(cuda_missing() is None, reason="there is a GPU here")
def test_cuda_without_a_gpu_is_an_error_and_never_the_cpu() -> None:
    with pytest.raises(DeviceError, match="'cuda' is not available: "):
        zoo.Session("cnn", device="cuda")


@pytest.mark.parametrize("rows", [0, 1, 3, 64, 100, 4096, 4097, 10_000])
def test_the_gpus_buffers_give_the_same_answers(rows: int, digits: mnist.Split) -> None:
    card = zoo.card("softmax")
    graph = (Bundle.open("softmax").path / ONNX).read_bytes()
    runner = Runner(cpu_session(graph), card.inputs[0], card.outputs, device="cpu")
    expected = zoo.Session("softmax", device="cpu").run(digits.inputs[:rows])
    for _ in range(3):  # the buffers are used again
        for found, want in zip(runner.run(digits.inputs[:rows]), expected, strict=True):
            np.testing.assert_allclose(found, want, atol=1e-4)


@pytest.mark.parametrize("device", ["cpu", "auto", "tensorrt"])
def test_cuda_graphs_are_for_cuda(device: str) -> None:
    with pytest.raises(UsageError, match=f"graphs is for device 'cuda', given device '{device}'"):
        zoo.Session("cnn", device=device, graphs=True)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
def test_cuda_graphs_give_the_same_answers(digits: mnist.Split) -> None:
    plain = zoo.Session("cnn", device="cuda")
    graphs = zoo.Session("cnn", device="cuda", graphs=True)
    for rows in (1, 64, 100, 4097, 64, 10_000):
        expected = plain.run(digits.inputs[:rows])[0]
        np.testing.assert_allclose(graphs.run(digits.inputs[:rows])[0], expected, atol=1e-2)


@pytest.mark.gpu
@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("name", [name for name in zoo.list_models() if name != "linear"])
def test_cuda_gives_the_same_answers(name: str) -> None:
    from zoo import datasets

    card = zoo.card(name)
    inputs = datasets.load(card.dataset.name).test.inputs
    session = zoo.Session(name, device="cuda")
    assert session.device == "cuda"
    found = session.run(inputs)[0]
    cpu = zoo.Session(name, device="cpu").run(inputs)[0]
    assert np.abs(found - cpu).max() < 5e-2  # TF32 rounds inputs to 10 bits
    assert np.mean(found.argmax(axis=1) == cpu.argmax(axis=1)) >= 0.9995


@pytest.mark.parametrize("name", ["cnn", "rnn", "googlenet", "logistic", "linear"])
def test_openvino_gives_the_same_answers(name: str) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    from zoo import datasets
    from zoo.evaluation import metrics

    test = datasets.load(zoo.card(name).dataset.name).test
    session = zoo.Session(name, engine="openvino", threads=1)
    assert session.device == "cpu"
    found = session.run(test.inputs)
    card = session.card
    assert [part.shape[1:] for part in found] == [one.shape[1:] for one in card.outputs]
    measured = metrics.measure(card.task, found[0], test.targets)
    assert measured[card.metric] == pytest.approx(card.test[card.metric], abs=0.001)
    onnx = zoo.Session(name, device="cpu")
    expected = onnx.run(test.inputs)[0]  # bfloat16 has 8 bits, where OpenVINO takes it
    np.testing.assert_allclose(found[0], expected, atol=0.02 * np.abs(expected).max())
    for rows in (0, 1, 3, 257):
        mine, theirs = session.predict(test.inputs[:rows]), onnx.predict(test.inputs[:rows])
        same = sum(a == b for a, b in zip(mine.labels, theirs.labels, strict=True))
        assert same >= 0.99 * len(theirs.labels)
    with pytest.raises(DataError, match="expected"):
        session.predict(test.inputs[:, :1])


def test_openvino_runs_in_several_threads(digits: mnist.Split) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    session = zoo.Session("cnn", engine="openvino")
    expected = session.run(digits.inputs[:300])[1]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(session.run, [digits.inputs[:300]] * 12):
            np.testing.assert_allclose(found[1], expected, atol=1e-6)


def test_openvino_that_is_missing_or_misused_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="engine 'openvino' runs on the CPU, given device 'cuda'"):
        zoo.Session("cnn", engine="openvino", device="cuda")
    monkeypatch.setitem(sys.modules, "openvino", None)
    said = r"^engine 'openvino' needs the package 'openvino'.*\[openvino\]'$"
    with pytest.raises(ZooError, match=said):
        zoo.Session("cnn", engine="openvino")


def test_onnxruntime_writes_no_identifier_unless_it_is_permitted(tmp_path: Path) -> None:
    """Its telemetry is off before it is loaded; the user's own setting stands."""
    homes = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"} | homes
    value = "; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    code = "import os, zoo; zoo.Session('linear', device='cpu').warm_up()" + value
    run = partial(subprocess.run, capture_output=True, text=True, check=True)
    assert run([sys.executable, "-c", code], env=environment).stdout == "1\n"
    assert [file for home in homes.values() for file in Path(home).rglob("*")] == []
    permitted = environment | {"ORT_DISABLE_TELEMETRY": "0"}
    code = "import os, zoo.runtime" + value
    assert run([sys.executable, "-c", code], env=permitted).stdout == "0\n"


def _labels(session: zoo.Session) -> list[str]:
    return session.predict(mnist.load_test().inputs[:5]).labels


def test_a_session_goes_to_another_process() -> None:
    """As `spawn` and `forkserver` send it, which is the default from Python 3.14 on."""
    session = zoo.Session("cnn", device="cpu", threads=1)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_labels, (session,)) == _labels(session)
    again = pickle.loads(pickle.dumps(session))
    assert (again.device, again.card) == (session.device, session.card)
