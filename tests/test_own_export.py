"""`zoo.export`: networks that are not the zoo's, as ONNX files proven against torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import zoo


class Two(nn.Module):
    """Two inputs of different dtypes, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(10, 4)
        self.linear = nn.Linear(4 + 3, 5)

    def forward(self, words: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([self.embedding(words).mean(1), values], dim=1)
        return self.linear(joined), joined


class Mean(nn.Module):
    """An operator that the converter does not write in older opsets."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.mean(1, keepdim=True)


class Branch(nn.Module):
    """Python code that depends on the values, which no graph has."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows if rows.sum().item() > 0 else -rows


class OfWholeBatch(nn.Module):
    """A constant number of rows in its code: right at one batch size alone."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.reshape(2, 6)


class Fixed(nn.Module):
    """`len` of a tensor is a number to torch's exporter, and not the size of the batch."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows + torch.zeros(len(rows), 1)


class Recurrent(nn.Module):
    """A layer with memory, which begins with zeros, as many rows as the batch has."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, rows: Tensor) -> Tensor:
        return self.layer(rows)[0][:, -1]


class Steps(nn.Module):
    """A cell in a loop, with a state of zeros of its own."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.cell = nn.RNNCell(8, 16, bias=bias)

    def forward(self, rows: Tensor) -> Tensor:
        state = torch.zeros(rows.shape[0], 16)
        for row in rows.unbind(1):
            state = self.cell(row, state)
        return state


class ZerosGiveTheRows(nn.Module):
    """A sum that has as many rows as its zeros, because what is added has one."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 16)

    def forward(self, rows: Tensor) -> Tensor:
        return self.linear(torch.zeros(rows.shape[0], 8)) + rows[:1, 0, :1]


class ZeroBias(nn.Module):
    """Two layers on a state of zeros, where the first one's bias is zero, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 16), nn.Linear(16, 4, bias=False)
        nn.init.zeros_(self.first.bias)

    def forward(self, rows: Tensor) -> Tensor:
        state = self.second(self.first(torch.zeros(rows.shape[0], 8)))
        return state + self.second(self.first(rows[:, 0]))


class Echo(nn.Module):
    """An output under the name that its input has in the file."""

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {"input": 2 * rows}


class Named(nn.Module):
    """Outputs in a dict, as the networks of Hugging Face return them."""

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {"sums": rows.sum(1, keepdim=True), "doubled": 2 * rows}


def run(path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def test_network_of_ones_own(tmp_path: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(8 * 36, 4),
    ).train()  # fmt: skip
    example = torch.randn(5, 3, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    parity = zoo.export(network, example, tmp_path / "net.onnx", metadata={"classes": ["a", "b"]})
    assert parity.samples == parity.same_top1 == 5
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    more = torch.randn(9, 3, 8, 8)  # a number of rows that no one named
    (ours,) = run(tmp_path / "net.onnx", input=more.numpy())
    with torch.no_grad():
        assert np.abs(ours - network.eval()(more).numpy()).max() < 1e-5
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    (classes,) = (entry.value for entry in model.metadata_props if entry.key == "classes")
    assert json.loads(classes) == ["a", "b"]


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    network = Two()
    words, values = torch.randint(0, 10, (4, 6)), torch.randn(4, 3)
    zoo.export(
        network, (words, values), tmp_path / "two.onnx", inputs=["words", "values"],
        outputs=["scores", "joined"], opset=21,
    )  # fmt: skip
    found = run(tmp_path / "two.onnx", words=words[:3].numpy(), values=values[:3].numpy())
    expected = network(words[:3], values[:3])
    for ours, torchs in zip(found, expected, strict=True):
        assert np.abs(ours - torchs.detach().numpy()).max() < 1e-5
    model = onnx.load(tmp_path / "two.onnx")
    assert [one.name for one in model.graph.output] == ["scores", "joined"]
    assert model.opset_import[0].version == 21


@pytest.mark.parametrize("kind", ["pth", "data parallel", "checkpoint", "safetensors", "renamed"])
def test_weights_from_a_file(tmp_path: Path, kind: str) -> None:
    trained, fresh = nn.Linear(4, 3), nn.Linear(4, 3)
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    state = trained.state_dict()
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    elif kind == "data parallel":
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    elif kind == "checkpoint":
        torch.save({"epoch": 3, "state_dict": state, "optimizer": {"lr": 0.1}}, path)
    elif kind == "renamed":
        torch.save({f"fc.{name}": value for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    example = np.random.default_rng(0).random((2, 4), np.float32)
    zoo.export(fresh, example, tmp_path / "net.onnx", state_dict=path)
    (ours,) = run(tmp_path / "net.onnx", input=example)
    with torch.no_grad():
        assert np.abs(ours - trained(torch.from_numpy(example)).numpy()).max() < 1e-5


def test_nested_outputs(tmp_path: Path) -> None:
    network, example = nn.LSTM(5, 6, batch_first=True), torch.randn(3, 4, 5)
    zoo.export(network, example, tmp_path / "lstm.onnx", outputs=["steps", "h", "c"])
    ours = run(tmp_path / "lstm.onnx", input=example.numpy())
    with torch.no_grad():
        steps, (h, c) = network(example)
    for mine, torchs in zip(ours, (steps, h, c), strict=True):
        assert np.abs(mine - torchs.numpy()).max() < 1e-5


def test_outputs_in_a_dict(tmp_path: Path) -> None:
    zoo.export(Named(), torch.randn(3, 4), tmp_path / "named.onnx")
    rows = np.ones((2, 4), np.float32)
    sums, doubled = run(tmp_path / "named.onnx", input=rows)
    assert (sums == 4).all()
    assert (doubled == 2).all()
    outputs = onnx.load(tmp_path / "named.onnx").graph.output
    assert [one.name for one in outputs] == ["sums", "doubled"]
    zoo.export(Echo(), torch.randn(3, 4), tmp_path / "echo.onnx")
    assert onnx.load(tmp_path / "echo.onnx").graph.output[0].name == "output"


@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
def test_network_in_another(tmp_path: Path, wrap: Callable[[nn.Module], nn.Module]) -> None:
    network, rows = small(), torch.randn(3, 4)
    zoo.export(wrap(network), rows, tmp_path / "net.onnx")
    (ours,) = run(tmp_path / "net.onnx", input=rows.numpy())
    assert np.abs(ours - network(rows).detach().numpy()).max() < 1e-6


def test_fixed_batch(tmp_path: Path) -> None:
    example = torch.randn(2, 6)
    zoo.export(OfWholeBatch(), example, tmp_path / "fixed.onnx", dynamic=False)
    assert np.array_equal(run(tmp_path / "fixed.onnx", input=example.numpy())[0], example.numpy())


@pytest.mark.parametrize(
    ("network", "shapes"),
    [
        (lambda: Recurrent(nn.RNN(8, 16, 2, batch_first=True)), 0),
        (lambda: Recurrent(nn.RNN(8, 16, batch_first=True, bias=False, nonlinearity="relu")), 0),
        # of two layers, torch's exporter writes other shapes still
        (lambda: Recurrent(nn.GRU(8, 16, batch_first=True)), None),
        (lambda: Recurrent(nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)), None),
        (lambda: Steps(bias=True), 0),
        (lambda: Steps(bias=False), 0),
        (ZeroBias, 0),
        (ZerosGiveTheRows, 1),
    ],
)
def test_state_of_zeros_needs_no_shape(
    tmp_path: Path, network: Callable[[], nn.Module], shapes: int | None
) -> None:
    module, rows = network().eval(), torch.randn(9, 5, 8)
    zoo.export(module, rows[:4], tmp_path / "net.onnx")
    (ours,) = run(tmp_path / "net.onnx", input=rows.numpy())
    with torch.no_grad():
        assert np.abs(ours - module(rows).numpy()).max() < 1e-6
    operators = [node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node]
    assert operators.count("Expand") == (shapes or 0)
    assert shapes is None or operators.count("Shape") == shapes


def small() -> nn.Module:
    return nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("network", "example", "options", "error", "words"),
    [
        (dict, torch.zeros(2, 4), {}, zoo.UsageError, "expected an nn.Module, given dict"),
        (small, [[1.0]], {}, zoo.UsageError, "expected a tensor with the batch first"),
        (small, torch.zeros(0, 4), {}, zoo.UsageError, "given [0] rows"),
        (small, torch.full((2, 4), torch.nan), {}, zoo.UsageError, "given NaN"),
        (small, torch.zeros(2, 4).bfloat16(), {}, zoo.UsageError, "no NumPy arrays of torch.bf"),
        (small, torch.zeros(2, 5), {}, zoo.UsageError, "does not take 2 rows of the example"),
        (small, torch.zeros(2, 4), {"opset": 5}, zoo.UsageError, "opset"),
        (small, torch.zeros(2, 4), {"inputs": ["a", "b"]}, zoo.UsageError, "expected 1 different"),
        (small, torch.zeros(2, 4), {"state_dict": "none.pth"}, zoo.DataError, "no such file"),
        (
            small, torch.zeros(2, 4), {"state_dict": {"weight": torch.zeros(3, 4)}},
            zoo.DataError, "state_dict has no bias",
        ),
        (
            small, torch.zeros(2, 4),
            {"state_dict": {"weight": torch.zeros(3, 5), "bias": torch.zeros(3)}},
            zoo.DataError, "weight is [3, 5], expected [3, 4]",
        ),
        (Mean, torch.zeros(2, 4), {"opset": 17}, zoo.VerificationError, "only in 18"),
        (Branch, torch.zeros(2, 4), {}, zoo.VerificationError, "data-dependent expression"),
        (OfWholeBatch, torch.zeros(2, 6), {}, zoo.ZooError, "rows of the example"),
        (Fixed, torch.zeros(4, 6), {}, zoo.VerificationError, "does not take 1 rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported(
    tmp_path: Path,
    network: Callable[[], nn.Module],
    example: Tensor,
    options: dict[str, object],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error) as caught:
        zoo.export(network(), example, tmp_path / "net.onnx", **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_pickled_network_is_not_run(tmp_path: Path) -> None:
    torch.save(small(), tmp_path / "whole.pth")
    with pytest.raises(zoo.DataError, match="Python objects"):
        zoo.export(
            small(), torch.zeros(2, 4), tmp_path / "n.onnx", state_dict=tmp_path / "whole.pth"
        )
