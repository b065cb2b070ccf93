"""The layers by hand: each against torch's own, the networks against the shipped ONNX files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

import zoo
from zoo import datasets, registry, scratch
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle, shipped
from zoo.network.pipeline import Normalize, channels_first
from zoo.network.pipeline import Pipeline as TorchPipeline

Array = NDArray[Any]
TOLERANCE = {np.float64: 1e-10, np.float32: 1e-4}
DTYPES = st.sampled_from([np.float64, np.float32])
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.integers(1, 6)
many = settings(max_examples=40, deadline=None)


def agree(ours: Array, theirs: torch.Tensor | None, tolerance: float) -> None:
    """Same shape and dtype; the difference is small beside the largest number."""
    assert theirs is not None
    expected = theirs.detach().numpy()
    assert (ours.shape, ours.dtype) == (expected.shape, expected.dtype)
    assert np.isfinite(ours).all()
    # Where a sum of numbers near 1 cancels out, as the gradient of a normalization may, what is
    # left is their rounding: hence the least size.
    largest = max(np.abs(expected).max(initial=0.0), 1e-2)
    assert np.abs(ours - expected).max(initial=0.0) <= tolerance * largest


def beside(
    layer: Any, peer: nn.Module, *inputs: Array, seed: int = 0, tolerance: float | None = None
) -> None:
    """Forward and backward, twice without zeroing, beside torch: y, dx, every dw; names too.

    A recurrent module takes (x, h) and gives (outputs, h) or h; the others take and give one array.
    """
    dtype = inputs[0].dtype.type
    tolerance = tolerance or TOLERANCE[dtype]
    peer.to(torch.float64 if dtype is np.float64 else torch.float32)
    assert list(layer.state_dict()) == list(peer.state_dict())
    assert [n for n, _ in layer.named_parameters()] == [n for n, _ in peer.named_parameters()]
    peer.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in layer.state_dict().items()})
    rng = np.random.default_rng(seed)
    for _ in range(2):  # the gradients of the second pass are added
        leaves = [torch.tensor(each, requires_grad=True) for each in inputs]
        ours, theirs = layer(*inputs), peer(*leaves)
        both = isinstance(ours, tuple)
        ours, theirs = (ours, theirs) if both else ((ours,), (theirs,))
        dys = [rng.standard_normal(y.shape).astype(dtype) for y in ours]
        dxs = layer.backward(*dys)
        torch.autograd.backward(theirs, [torch.from_numpy(dy) for dy in dys])
        for y, expected in zip(ours, theirs, strict=True):
            agree(y, expected, tolerance)
        for dx, leaf in zip(dxs if len(inputs) > 1 else (dxs,), leaves, strict=True):
            agree(dx, leaf.grad, tolerance)
    for ours_p, theirs_p in zip(layer.parameters(), peer.parameters(), strict=True):
        agree(ours_p.grad, theirs_p.grad, tolerance)


def normal(seed: int, dtype: type, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@many
@given(DTYPES, SEEDS, SIZES, SIZES, st.lists(SIZES, min_size=1, max_size=3), st.booleans())
def test_linear(
    dtype: type, seed: int, inside: int, outside: int, rows: list[int], bias: bool
) -> None:
    layer = scratch.Linear(inside, outside, bias, dtype=dtype, rng=np.random.default_rng(seed))
    beside(layer, nn.Linear(inside, outside, bias), normal(seed, dtype, *rows, inside))


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    """Kernel, stride and padding as ints or pairs, and an image that they fit."""

    def size(least: int, most: int) -> Any:
        one = st.integers(least, most)
        return draw(st.one_of(one, st.tuples(one, one)))

    kernel, stride = size(1, 4), size(1, 4)
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = size(0, min(kh, kw) // 2)
    image = [draw(st.integers(k, k + 6)) for k in (kh, kw)]
    return {"kernel_size": kernel, "stride": stride, "padding": padding, "image": image}


@many
@given(DTYPES, SEEDS, windows(), SIZES, SIZES, SIZES, st.booleans())
def test_conv2d(
    dtype: type, seed: int, how: dict[str, Any], batch: int, inside: int, outside: int, bias: bool
) -> None:
    x = normal(seed, dtype, batch, inside, *how.pop("image"))
    rng = np.random.default_rng(seed)
    layer = scratch.Conv2d(inside, outside, **how, bias=bias, dtype=dtype, rng=rng)
    beside(layer, nn.Conv2d(inside, outside, **how, bias=bias), x)


@many
@given(DTYPES, SEEDS, windows(), SIZES, SIZES, st.booleans())
def test_max_pool2d_with_its_ties(
    dtype: type, seed: int, how: dict[str, Any], batch: int, channels: int, ties: bool
) -> None:
    x = normal(seed, dtype, batch, channels, *how.pop("image"))
    beside(scratch.MaxPool2d(**how), nn.MaxPool2d(**how), x.round() if ties else x)


@many
@given(DTYPES, SEEDS, windows(), SIZES, SIZES, st.booleans())
def test_avg_pool2d(
    dtype: type, seed: int, how: dict[str, Any], batch: int, channels: int, count: bool
) -> None:
    x = normal(seed, dtype, batch, channels, *how.pop("image"))
    layer = scratch.AvgPool2d(**how, count_include_pad=count)
    beside(layer, nn.AvgPool2d(**how, count_include_pad=count), x)


def test_pooling_takes_the_kernel_as_stride_and_passes_nan_on_as_torch_does() -> None:
    x = normal(0, np.float64, 2, 3, 7, 7)
    beside(scratch.MaxPool2d(3), nn.MaxPool2d(3), x)
    beside(scratch.AvgPool2d((2, 3)), nn.AvgPool2d((2, 3)), x)
    x[0, 0, 1, 1] = x[0, 0, 2, 0] = np.nan
    for kernel, stride in ((3, 3), (3, 1)):
        layer, leaf = scratch.MaxPool2d(kernel, stride), torch.tensor(x, requires_grad=True)
        y, expected = layer(x), nn.MaxPool2d(kernel, stride)(leaf)
        np.testing.assert_array_equal(y, expected.detach().numpy())
        assert np.isnan(y[0, 0, 0, 0])
        expected.backward(torch.ones_like(expected))
        assert leaf.grad is not None
        np.testing.assert_array_equal(layer.backward(np.ones_like(y)), leaf.grad.numpy())


@many
@given(DTYPES, SEEDS, st.integers(2, 6), SIZES, st.integers(2, 5), st.booleans(), st.booleans())
def test_batch_norm2d(
    dtype: type, seed: int, batch: int, channels: int, size: int, affine: bool, train: bool
) -> None:
    layer = scratch.BatchNorm2d(channels, affine=affine, dtype=dtype)
    for parameter, start in zip(layer.parameters(), (1, 0), strict=False):
        parameter.data += normal(seed + start, dtype, channels)
    layer.train(train)
    beside(layer, nn.BatchNorm2d(channels, affine=affine).train(train),
           normal(seed, dtype, batch, channels, size, size) * 3 + 2)  # fmt: skip


@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
def test_running_statistics_are_those_of_torch_after_ten_steps(momentum: float | None) -> None:
    layer = scratch.BatchNorm2d(3, momentum=momentum, dtype=np.float64)
    peer = nn.BatchNorm2d(3, momentum=momentum).double()
    for step in range(10):
        x = normal(step, np.float64, 2 + step, 3, 4, 5) * (step + 1) + step
        layer(x)
        peer(torch.from_numpy(x))
    for name, array in layer.state_dict().items():
        np.testing.assert_allclose(array, peer.state_dict()[name].numpy(), rtol=1e-12)
    layer.eval()
    agree(layer(x), peer.eval()(torch.from_numpy(x)), 1e-10)


SHAPES = st.lists(SIZES, min_size=2, max_size=4)
ACTIVATIONS = [
    (scratch.ReLU(), nn.ReLU()), (scratch.Tanh(), nn.Tanh()), (scratch.Sigmoid(), nn.Sigmoid()),
    (scratch.LogSoftmax(), nn.LogSoftmax(-1)), (scratch.Identity(), nn.Identity()),
    (scratch.Flatten(), nn.Flatten()), (scratch.Flatten(0, 1), nn.Flatten(0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "peer"), ACTIVATIONS)
def test_layers_without_parameters(layer: scratch.Layer, peer: nn.Module) -> None:
    @settings(max_examples=20, deadline=None)
    @given(DTYPES, SEEDS, SHAPES)
    def check(dtype: type, seed: int, shape: list[int]) -> None:
        beside(layer, peer, (normal(seed, dtype, *shape) * 4).round(1))  # some are exactly 0

    check()
    large = np.array([[-1000.0, -90.0, 0.0, 90.0, 1000.0]])
    for dtype in (np.float32, np.float64):  # a warning of an overflow would be an error here
        beside(layer, peer, large.astype(dtype))


def test_relu_has_the_gradient_0_at_0() -> None:
    layer = scratch.ReLU()
    layer(np.array([-1.0, 0.0, 2.0]))
    assert layer.backward(np.ones(3)).tolist() == [0, 0, 1]


def test_dropout() -> None:
    x = normal(0, np.float32, 100, 200)
    layer = scratch.Dropout(0.3, rng=np.random.default_rng(0))
    y = layer(x)
    kept = y != 0
    assert abs(kept.mean() - 0.7) < 0.01
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-6)
    dx = layer.backward(np.ones_like(x))
    np.testing.assert_allclose(dx, kept / np.float32(0.7), rtol=1e-6)
    assert (y.dtype, dx.dtype) == (np.float32, np.float32)
    assert (layer(x) != y).any(), "a new mask each time"
    assert (scratch.Dropout(0.0)(x) == x).all()
    assert (scratch.Dropout(1.0)(x) == 0).all()
    layer.eval()
    assert (layer(x) == x).all()
    assert (layer.backward(x) == x).all()


@settings(max_examples=25, deadline=None)
@given(DTYPES, SEEDS, SIZES, SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_recurrent(
    dtype: type, seed: int, steps: int, batch: int, inside: int, hidden: int,
    relu: bool, bias: bool, first: bool,
) -> None:  # fmt: skip
    f = "relu" if relu else "tanh"
    x, h = normal(seed, dtype, batch, steps, inside), normal(seed + 1, dtype, 1, batch, hidden)
    rng = np.random.default_rng(seed)
    cell = scratch.RNNCell(inside, hidden, bias, f, dtype=dtype, rng=rng)
    beside(cell, nn.RNNCell(inside, hidden, bias, f), x[:, 0], h[0])
    how: dict[str, Any] = {"nonlinearity": f, "bias": bias, "batch_first": first}
    rnn = scratch.RNN(inside, hidden, **how, dtype=dtype, rng=rng)
    beside(rnn, nn.RNN(inside, hidden, **how), x if first else x.swapaxes(0, 1).copy(), h)


def test_recurrent_from_zeros_and_with_the_gradient_of_one_output_alone() -> None:
    x, dh = normal(0, np.float64, 5, 2, 3), normal(1, np.float64, 1, 2, 4)
    rnn = scratch.RNN(3, 4, dtype=np.float64)
    outputs, h = rnn(x)
    assert (outputs[-1] == h[0]).all()
    dx, dh0 = rnn.backward(None, dh)
    zeros = np.zeros((1, 2, 4))
    rnn(x, zeros)
    through = np.zeros((5, 2, 4))
    through[-1] = dh[0]
    for ours, same in zip((dx, dh0), rnn.backward(through), strict=True):
        np.testing.assert_allclose(ours, same, rtol=1e-12)
    cell = scratch.RNNCell(3, 4, dtype=np.float64)
    assert (cell(x[0]) == cell(x[0], zeros[0])).all()


class TorchBlock(nn.Module):
    """x + conv(x) beside a pooled branch, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.one = nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.one(nn.functional.avg_pool2d(x, 3, 1, 1))
        return torch.cat([x + self.conv(x), pooled], dim=1)


class Block(scratch.Layer):
    """The same by hand, through a layer that a reader could write."""

    def __init__(self) -> None:
        self.conv = scratch.Conv2d(3, 3, 3, padding=1, dtype=np.float64)
        self.one = scratch.Conv2d(3, 2, 1, dtype=np.float64)
        self.body = scratch.Concat(
            scratch.Add(scratch.Identity(), self.conv),
            scratch.Sequential(scratch.AvgPool2d(3, 1, 1), self.one),
        )

    def _forward(self, x: Array) -> tuple[Array, tuple[Any, ...]]:
        return self.body(x), ()

    def _backward(self, dy: Array) -> Array:
        return self.body.backward(dy)


def test_containers() -> None:
    x = normal(0, np.float64, 4, 3, 6, 5)
    beside(Block(), TorchBlock(), x)
    how: dict[str, Any] = {"dtype": np.float64}
    layers = [scratch.Conv2d(3, 4, 3, **how), scratch.ReLU(), scratch.BatchNorm2d(4, **how),
              scratch.MaxPool2d(2), scratch.Flatten(), scratch.Linear(8, 2, **how)]  # fmt: skip
    peers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4),
             nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)]  # fmt: skip
    network = scratch.Sequential(*layers)
    beside(network, nn.Sequential(*peers), x)
    named = scratch.Sequential(conv=layers[0], act=layers[1])
    assert list(named.state_dict()) == ["conv.weight", "conv.bias"]
    network.eval()
    assert not any(module.training for _, module in network.modules())


def test_accumulate_adds_the_gradients_of_backward() -> None:
    rng = np.random.default_rng(0)
    for layer, shape in (
        (Block(), (4, 3, 6, 5)),
        (scratch.build("softmax", pretrained=False, seed=0), (3, 1, 28, 28)),
        (scratch.build("cnn", pretrained=False, seed=0), (3, 1, 28, 28)),
        (scratch.Sequential(scratch.ReLU(), scratch.Flatten()), (2, 3, 4)),
    ):
        kind = next((p.data.dtype for p in layer.parameters()), np.float64)
        x = rng.standard_normal(shape).astype(kind)
        dy = rng.standard_normal(layer(x).shape).astype(kind)
        layer.backward(dy)
        once = [p.grad.copy() for p in layer.parameters() if p.grad is not None]
        layer(x)
        layer.accumulate(dy)
        for parameter, gradient in zip(layer.parameters(), once, strict=True):
            assert parameter.grad is not None
            np.testing.assert_allclose(parameter.grad, 2 * gradient, rtol=1e-5)


@pytest.mark.parametrize("layer", [
    scratch.Conv2d(2, 3, (3, 2), stride=2, padding=1, dtype=np.float64), scratch.AvgPool2d(2, 1),
    scratch.BatchNorm2d(2, dtype=np.float64), scratch.Sigmoid(), scratch.LogSoftmax(),
    scratch.Sequential(scratch.Flatten(), scratch.Linear(40, 3, dtype=np.float64), scratch.Tanh()),
], ids=str)  # fmt: skip
def test_finite_differences_agree(layer: scratch.Layer) -> None:
    x = normal(0, np.float64, 3, 2, 4, 5)
    dy = normal(1, np.float64, *layer(x).shape)
    layer(x)
    dx = layer.backward(dy)
    pairs = [(x, dx)] + [(p.data, p.grad) for p in layer.parameters()]
    rng = np.random.default_rng(2)
    for array, gradient in pairs:
        assert gradient is not None
        for at in rng.integers(0, array.size, 5):
            start, sides = array.flat[at], []
            for step in (1e-6, -1e-6):
                array.flat[at] = start + step
                sides.append((layer(x) * dy).sum())
            array.flat[at] = start
            slope = (sides[0] - sides[1]) / 2e-6
            assert slope == pytest.approx(gradient.flat[at], rel=1e-5, abs=1e-7)


def compare_loss(
    ours: scratch.Loss, theirs: nn.Module, outputs: Array, targets: Array, tolerance: float = 0
) -> None:
    leaf = torch.tensor(outputs, requires_grad=True)
    expected = theirs(leaf, torch.from_numpy(targets))
    expected.backward()
    tolerance = tolerance or TOLERANCE[outputs.dtype.type]
    assert ours(outputs, targets) == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    agree(ours.backward(), leaf.grad, tolerance)


class Distillation(nn.Module):
    """Torch's words for `zoo.scratch.DistillationLoss`."""

    def __init__(self, reduction: str, temperature: float) -> None:
        super().__init__()
        self.divergence, self.temperature = nn.KLDivLoss(reduction=reduction), temperature

    def forward(self, logits: torch.Tensor, teachers: torch.Tensor) -> torch.Tensor:
        ours = (logits / self.temperature).log_softmax(dim=1)
        known = (teachers / self.temperature).softmax(dim=1)
        divergence: torch.Tensor = self.divergence(ours, known)
        return divergence * self.temperature**2


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_losses(reduction: str) -> None:
    @many
    @given(DTYPES, SEEDS, SIZES, st.integers(2, 6), st.floats(0, 1))
    def check(dtype: type, seed: int, rows: int, columns: int, smoothing: float) -> None:
        rng = np.random.default_rng(seed)
        x = normal(seed, dtype, rows, columns) * 5
        values, share = normal(seed + 1, dtype, rows, columns), rng.random(x.shape).astype(dtype)
        kinds, how = rng.integers(0, columns, rows), {"reduction": reduction}
        p = rng.uniform(0.05, 0.95, x.shape).astype(dtype)
        compare_loss(scratch.MSELoss(**how), nn.MSELoss(**how), x, values)
        compare_loss(scratch.BCELoss(**how), nn.BCELoss(**how), p, share)
        logits = scratch.BCEWithLogitsLoss(**how), nn.BCEWithLogitsLoss(**how)
        compare_loss(*logits, x, share)
        compare_loss(scratch.NLLLoss(**how), nn.NLLLoss(**how), x, kinds)
        entropy = scratch.CrossEntropyLoss, nn.CrossEntropyLoss
        compare_loss(*(one(**how) for one in entropy), x, kinds)
        smooth: dict[str, Any] = how | {"label_smoothing": smoothing}
        compare_loss(scratch.CrossEntropyLoss(**smooth), nn.CrossEntropyLoss(**smooth), x, kinds)
        heat = 1 + 3 * smoothing
        divergence = {"mean": "batchmean"}.get(reduction, reduction)
        compare_loss(
            scratch.DistillationLoss(reduction, heat), Distillation(divergence, heat), x, values
        )

    check()


def test_losses_at_the_edge_of_their_range() -> None:
    for dtype in (np.float64, np.float32):
        sure, targets = np.array([0, 1, 1, 0], dtype), np.array([0, 1, 0, 1], dtype)
        # torch's smallest divisor, 1e-12, is a float32 in float64 too
        compare_loss(scratch.BCELoss(), nn.BCELoss(), sure, targets, 1e-7)
        far = np.array([-1000, 1000, 1000, -1000], dtype)
        compare_loss(scratch.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(), far, targets)
        kinds = np.array([1, 1])
        logits = far.reshape(2, 2)
        compare_loss(scratch.CrossEntropyLoss(), nn.CrossEntropyLoss(), logits, kinds)


OPTIONS = [
    {"momentum": momentum, "dampening": dampening, "weight_decay": decay, "nesterov": nesterov}
    for momentum, dampening, decay, nesterov in product((0, 0.9), (0, 0.3), (0, 0.1), (False, True))
    if not nesterov or (momentum and not dampening)
]


def ten_steps(
    ours: Callable[..., Any], theirs: Callable[..., Any], late: bool = True, atol: float = 1e-12,
    **options: Any,
) -> None:  # fmt: skip
    weights = [normal(seed, np.float64, 3, 4) for seed in (0, 1, 2)]
    parameters = [scratch.Parameter(weight.copy()) for weight in weights]
    peers = [nn.Parameter(torch.from_numpy(weight.copy())) for weight in weights]
    mine, peer = ours(parameters, lr=0.1, **options), theirs(peers, lr=0.1, **options)
    for step in range(10):
        mine.zero_grad()
        peer.zero_grad()
        assert all(parameter.grad is None for parameter in parameters)
        pairs = list(zip(parameters, peers, strict=True))
        for number, (parameter, other) in enumerate(pairs[: 2 if late and step < 5 else 3]):
            gradient = normal(10 * step + number, np.float64, 3, 4)
            parameter.add(gradient.copy())
            other.grad = torch.from_numpy(gradient)
        mine.step()
        peer.step()
        for parameter, other in pairs:  # if late, the third has no gradient in the first five
            np.testing.assert_allclose(parameter.data, other.detach().numpy(), rtol=0, atol=atol)


@pytest.mark.parametrize("options", OPTIONS)
def test_ten_steps_of_sgd_are_those_of_torch(options: dict[str, Any]) -> None:
    ten_steps(scratch.SGD, torch.optim.SGD, **options)


@pytest.mark.parametrize("decay", [0, 0.1])
def test_ten_steps_of_adamw_are_those_of_torch(decay: float) -> None:
    ten_steps(scratch.AdamW, torch.optim.AdamW, late=False, weight_decay=decay)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.5, "weight_decay": 0.5}])
def test_ten_steps_of_muon_are_those_of_torch_but_for_its_bfloat16(options: dict[str, Any]) -> None:
    theirs = partial(torch.optim.Muon, adjust_lr_fn="match_rms_adamw")
    ten_steps(scratch.Muon, theirs, atol=5e-3, **options)


def test_a_step_of_muon_is_equally_long_in_all_directions() -> None:
    for shape in ((20, 10, 5, 5), (128, 28), (3, 12)):
        kernel = scratch.Parameter(np.zeros(shape, np.float32))
        kernel.add(normal(0, np.float32, *shape))
        scratch.Muon([kernel], lr=1.0).step()
        matrix = kernel.data.reshape(len(kernel.data), -1)
        lengths = np.linalg.svd(matrix, compute_uv=False) / (0.2 * max(matrix.shape) ** 0.5)
        assert lengths.min() > 0.3
        assert lengths.max() < 1.3


NAMES = shipped()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in ("resnet", "googlenet") else [])
        for name in NAMES
    ],
)
def test_shipped_networks_answer_as_their_onnx_files_on_the_whole_test_set(name: str) -> None:
    card = zoo.card(name)
    inputs = datasets.load(card.dataset.name).test.inputs
    pipeline = scratch.Pipeline(scratch.build(name), card.spec, card.task)
    ours, theirs = pipeline(inputs), zoo.Session(name, device="cpu").run(inputs)
    assert len(ours) == len(theirs)
    for mine, expected in zip(ours, theirs, strict=True):
        assert (mine.shape, mine.dtype) == (expected.shape, np.float32)
        assert np.abs(mine - expected).max() <= 1e-3
    same = int((ours[0].argmax(axis=1) == theirs[0].argmax(axis=1)).sum())
    assert same >= 0.9999 * len(inputs)
    assert all(len(output) == 0 for output in pipeline(inputs[:0]))


@pytest.mark.parametrize("name", NAMES)
def test_networks_have_the_gradients_of_the_torch_models(name: str) -> None:
    card = zoo.card(name)
    how: dict[str, Any] = {"dtype": np.float64, "rng": np.random.default_rng(0)}
    network = scratch.make(name, card.spec, card.task, len(card.labels), **how)
    shape = (5, 1, 28, 28) if card.spec.tensor.name == "images" else (5, len(card.spec.mean))
    peer = registry.get(name).build(card.spec, len(card.labels))
    beside(network, peer, normal(0, np.float64, *shape))


def test_the_pipeline_normalizes_as_the_torch_pipeline_does(digits: datasets.Split) -> None:
    for name in ("cnn", "logistic"):
        card = zoo.card(name)
        inputs = datasets.load(card.dataset.name).test.inputs[:100]
        given = torch.from_numpy(inputs)
        x = channels_first(given) if name == "cnn" else given
        pipeline = scratch.Pipeline(scratch.build(name), card.spec, card.task)
        np.testing.assert_array_equal(pipeline.normalize(inputs), Normalize(card.spec)(x).numpy())
        whole = TorchPipeline(zoo.load(name), card.spec, card.task).eval()
        for ours, theirs in zip(pipeline(inputs), whole(given), strict=True):
            agree(ours, theirs, 1e-5)


def test_a_network_learns(digits: datasets.Split) -> None:
    card = zoo.card("cnn")
    network = scratch.build("cnn", pretrained=False, seed=0)
    network.train()
    x = scratch.Pipeline(network, card.spec, card.task).normalize(digits.inputs[:2000])
    criterion, optimizer = scratch.CrossEntropyLoss(), scratch.SGD(network.parameters(), 0.05, 0.9)
    for at in [*range(0, 2000, 100)] * 3:
        optimizer.zero_grad()
        criterion(network(x[at : at + 100]), digits.targets[at : at + 100])
        network.accumulate(criterion.backward())
        optimizer.step()
    network.eval()
    assert (network(x).argmax(axis=1) == digits.targets[:2000]).mean() > 0.85
    assert all(array.dtype == np.float32 for array in network.state_dict().values())


def test_fresh_weights_come_from_the_seed_within_torchs_bounds() -> None:
    one, same, other = (scratch.build("resnet", pretrained=False, seed=s) for s in (1, 1, 2))
    for (name, array), twin in zip(
        one.state_dict().items(), same.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(array, twin)
        assert array.dtype == np.float32, name
        assert (array != other.state_dict()[name]).all()
    for layer, fan_in in (
        (scratch.Linear(100, 50), 100), (scratch.Conv2d(10, 50, (5, 2)), 100),
        (scratch.RNN(10, 100), 100), (scratch.RNNCell(10, 100), 100),
    ):  # fmt: skip
        for parameter in layer.parameters():
            assert 0.085 < np.abs(parameter.data).max() <= 1 / fan_in**0.5


def test_state_round_trip() -> None:
    one, other = (scratch.build("googlenet", pretrained=False, seed=s) for s in (1, 2))
    other.load_state_dict(one.state_dict())
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
        assert other.state_dict()[name] is not array
    norm = scratch.BatchNorm2d(3)
    peer = nn.BatchNorm2d(3)
    peer(torch.randn(4, 3, 2, 2))
    norm.load_state_dict({name: tensor.numpy() for name, tensor in peer.state_dict().items()})
    assert int(norm.num_batches_tracked) == 1


def test_errors_of_states_and_bundles(tmp_path: Path) -> None:
    layer = scratch.Linear(3, 2)
    before = layer.weight.data.copy()
    state = {"weight": np.ones((2, 4)), "gain": np.ones(1)}
    with pytest.raises(zoo.DataError) as caught:
        layer.load_state_dict(state)
    for part in ("bias is missing", "gain is unexpected", "expected [2, 3], given [2, 4]"):
        assert part in str(caught.value)
    assert (layer.weight.data == before).all()
    with pytest.raises(zoo.UsageError, match="Did you mean 'resnet'"):
        scratch.build("resnett")
    with pytest.raises(zoo.UsageError, match="unknown network by hand"):
        scratch.make("mlp", zoo.card("cnn").spec, "classification", 10)
    bundle = Path(shutil.copytree(Bundle.open("linear").path, tmp_path / "bundle"))
    assert (scratch.build(bundle)(np.zeros((1, 10), np.float32)) != 0).all()
    other = (Bundle.open("logistic").path / WEIGHTS).read_bytes()
    (bundle / WEIGHTS).write_bytes(other)
    with pytest.raises(zoo.VerificationError, match="does not match its card"):
        scratch.build(bundle)
    card = Bundle.open("logistic").card
    Bundle.write(bundle, msgspec.structs.replace(Bundle.open(bundle).card, files=card.files))
    with pytest.raises(zoo.VerificationError, match=r"linear.weight: expected \[1, 10\]"):
        scratch.build(bundle)


F32 = np.zeros((2, 3, 8, 8), np.float32)
WRONG: list[tuple[Any, Any, str]] = [
    (scratch.Linear(3, 2), F32, r"Linear: expected float32 \[any, any, any, 3\], given .*8, 8\]"),
    (scratch.Linear(8, 2), F32.astype(np.float64), "expected float32 .*, given float64"),
    (scratch.Linear(8, 2), [[1.0]], "expected a NumPy array, given list"),
    (scratch.Conv2d(1, 2, 3), F32, r"expected float32 \[batch, 1, height, width\], given .*3, 8"),
    (scratch.Conv2d(3, 2, 9), F32, "expected images of at least 9 x 9, given 8 x 8"),
    (scratch.BatchNorm2d(4), F32, r"BatchNorm2d: expected float32 \[batch, 4, "),
    (scratch.BatchNorm2d(3), F32[:1, :, :1, :1], "more than one number per channel"),
    (scratch.MaxPool2d(2), F32[0], r"MaxPool2d: expected float \[batch, channels, height, width\]"),
    (scratch.ReLU(), F32.astype(int), "ReLU: expected float .*, given int64"),
    (scratch.RNN(5, 4), F32[0], r"RNN: expected float32 \[steps, batch, 5\]"),
    (scratch.RNNCell(5, 4), F32[0], r"RNNCell: expected float32 \[batch, 5\]"),
    (scratch.Add(scratch.Identity(), scratch.MaxPool2d(2)), F32, "a branch.*given .*4, 4"),
    (
        scratch.Concat(scratch.Identity(), scratch.MaxPool2d(2)),
        F32,
        "equal shape except in dimension 1",
    ),
]


@pytest.mark.parametrize(("layer", "x", "message"), WRONG)
def test_wrong_inputs_are_named(layer: Any, x: Any, message: str) -> None:
    with pytest.raises(zoo.DataError, match=message):
        layer(x)


def test_wrong_gradients_hidden_states_and_targets_are_named() -> None:
    layer = scratch.ReLU()
    with pytest.raises(zoo.ZooError, match="expected a forward pass before"):
        layer.backward(F32)
    layer(F32)
    with pytest.raises(zoo.DataError, match=r"ReLU.backward: expected float32 .*8\], given .*4\]"):
        layer.backward(F32[..., :4])
    layer.backward(F32)
    with pytest.raises(zoo.ZooError, match="before each backward"):
        layer.backward(F32)
    rnn, h = scratch.RNN(8, 4), np.zeros((1, 9, 4), np.float32)
    with pytest.raises(zoo.DataError, match="hidden state"):
        rnn(F32[0], h)
    with pytest.raises(zoo.DataError, match="hidden state"):
        scratch.RNNCell(8, 4)(F32[0, 0], h[0])
    rnn(F32[0])
    with pytest.raises(zoo.DataError, match="hidden state"):
        rnn.backward(None, h)
    logits, criterion = F32[0, 0], scratch.CrossEntropyLoss()
    with pytest.raises(zoo.ZooError, match="expected a loss computed before"):
        criterion.backward()
    for targets, message in (
        (np.zeros(8, np.float32), r"expected integer \[8\], given float32 \[8\]"),
        (np.zeros(3, int), r"expected integer \[8\], given int64 \[3\]"),
        (np.full(8, 8), "expected class numbers from 0 to 7, given 8 to 8"),
    ):
        with pytest.raises(zoo.DataError, match=message):
            criterion(logits, targets)
    with pytest.raises(zoo.DataError, match="at least one row"):
        criterion(logits[:0], np.zeros(0, int))
    with pytest.raises(zoo.DataError, match="MSELoss"):
        scratch.MSELoss()(logits, logits[:1])
    with pytest.raises(zoo.DataError, match="expected probabilities"):
        scratch.BCELoss()(logits + 2, logits)
    pipeline = scratch.Pipeline(scratch.build("cnn"), zoo.card("cnn").spec, "classification")
    with pytest.raises(zoo.DataError, match="images: expected uint8"):
        pipeline(np.zeros((1, 28, 28, 3), np.uint8))


@pytest.mark.parametrize("make", [
    lambda: scratch.Conv2d(1, 1, 0), lambda: scratch.Conv2d(1, 1, 3, stride=(1, 0)),
    lambda: scratch.Conv2d(1, 1, 3, padding=-1), lambda: scratch.MaxPool2d(2, padding=2),
    lambda: scratch.Dropout(1.5), lambda: scratch.RNN(1, 1, nonlinearity="gelu"),
    lambda: scratch.MSELoss("none"), lambda: scratch.CrossEntropyLoss(label_smoothing=2),
    lambda: scratch.SGD([]), lambda: scratch.SGD([scratch.Parameter(F32)], lr=-1),
    lambda: scratch.SGD([scratch.Parameter(F32)], nesterov=True),
])  # fmt: skip
def test_wrong_arguments_are_usage_errors(make: Callable[[], object]) -> None:
    with pytest.raises(zoo.UsageError):
        make()


def test_it_runs_without_torch() -> None:
    code = (
        "import sys\nfrom zoo import scratch\nscratch.build('cnn')\n"
        "print({'torch', 'onnxruntime'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
