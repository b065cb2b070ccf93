"""The models: what the notes say of them, against torch's own pieces and closed forms."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import zoo
from zoo import datasets
from zoo.bundle.card import WEIGHTS
from zoo.bundle.folder import Bundle, shipped, weights_dir
from zoo.datasets import mnist
from zoo.errors import UsageError, VerificationError
from zoo.models.googlenet import InceptionBlock
from zoo.models.resnet import ResidualBlock
from zoo.network.pipeline import Pipeline, run_torch


def normalized(images: np.ndarray) -> torch.Tensor:
    """As the notes do it: ToTensor, Normalize((0.1307,), (0.3081,))."""
    return (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.1307) / 0.3081


@pytest.mark.parametrize("name", shipped())
def test_load_gives_the_trained_network_ready_to_use(name: str) -> None:
    model = zoo.load(name)
    assert isinstance(model, nn.Module)
    assert not model.training
    data = datasets.load(zoo.card(name).dataset.name)
    inputs = data.test.inputs[:500]
    if inputs.ndim == 4:
        x = normalized(inputs)
    else:
        x = (torch.from_numpy(inputs) - torch.tensor(data.spec.mean)) / torch.tensor(data.spec.std)
    with torch.no_grad():
        outputs = model(x.float()).numpy()
    served = zoo.Session(name, device="cpu").run(inputs)[0]
    if outputs.shape[1] == 1 and served.shape[1] == 2:
        served = served[:, 1:]
    np.testing.assert_allclose(outputs, served, rtol=1e-4, atol=2e-4)


def test_fresh_weights_differ_from_trained_ones_and_obey_the_seed() -> None:
    def first(model: nn.Module) -> torch.Tensor:
        return next(model.parameters())

    torch.manual_seed(3)
    one = zoo.load("cnn", pretrained=False)
    torch.manual_seed(3)
    two = zoo.load("cnn", pretrained=False)
    assert torch.equal(first(one), first(two))
    assert not torch.equal(first(one), first(zoo.load("cnn")))


def test_rnn_cell_takes_the_weights_of_rnn_and_gives_the_same_logits(digits: mnist.Split) -> None:
    rnn = zoo.load("rnn")
    cell = zoo.load("rnn_cell", pretrained=False)
    cell.load_state_dict(rnn.state_dict())
    x = normalized(digits.inputs[:200])
    with torch.no_grad():
        torch.testing.assert_close(cell(x), rnn(x), rtol=0, atol=1e-5)


def test_linear_is_at_the_least_squares_solution() -> None:
    data = datasets.load("diabetes")

    def design(inputs: np.ndarray) -> np.ndarray:
        standard = (inputs - np.array(data.spec.mean)) / np.array(data.spec.std)
        return np.column_stack([standard, np.ones(len(inputs))])

    solution = np.linalg.lstsq(design(data.train.inputs), data.train.targets, rcond=None)[0]
    error = design(data.test.inputs) @ solution - data.test.targets
    closed = float(np.mean(error**2))
    assert zoo.card("linear").test["mse"] == pytest.approx(closed, rel=0.01)
    found = zoo.Session("linear", device="cpu").predict(data.test.inputs).values
    assert float(np.mean((found - data.test.targets) ** 2)) == pytest.approx(closed, rel=0.01)


def test_logistic_probabilities_are_the_sigmoid_of_the_logit() -> None:
    data = datasets.load("breast-cancer")
    logits, probabilities = zoo.Session("logistic", device="cpu").run(data.test.inputs)
    assert logits.shape == probabilities.shape == (len(data.test.targets), 2)
    assert (logits[:, 0] == 0).all()
    sigmoid = 1 / (1 + np.exp(-logits[:, 1].astype(np.float64)))
    np.testing.assert_allclose(probabilities[:, 1], sigmoid, atol=1e-6)


def test_the_inception_block_is_four_branches() -> None:
    block = InceptionBlock(10)
    x = torch.randn(2, 10, 12, 12)
    y = block(x)
    assert y.shape == (2, 88, 12, 12)
    pooled = block.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1))
    torch.testing.assert_close(y[:, 64:], pooled)
    torch.testing.assert_close(y[:, :16], block.branch1x1(x))


def test_the_residual_block_passes_its_input_on() -> None:
    block = ResidualBlock(16)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, 16, 5, 5)
    torch.testing.assert_close(block(x), x.relu())


def test_pipeline_is_the_served_model_in_torch(digits: mnist.Split) -> None:
    card = zoo.card("resnet")
    pipeline = Pipeline(zoo.load("resnet"), card.spec, card.task).eval()
    found = run_torch(pipeline, digits.inputs[:300])
    served = zoo.Session("resnet", device="cpu").run(digits.inputs[:300])[0]
    np.testing.assert_allclose(found, served, atol=1e-4)


def test_weights_of_another_model_are_refused(broken_copy: object) -> None:
    from pathlib import Path

    from zoo.files import sha256

    bundle = Path(str(broken_copy))
    other = weights_dir() / "logistic" / WEIGHTS
    (bundle / WEIGHTS).write_bytes(other.read_bytes())
    with pytest.raises(VerificationError, match="does not match its card"):
        zoo.load(bundle)
    card = Bundle.open(bundle).card
    files = {**card.files, WEIGHTS: sha256(bundle / WEIGHTS)}
    Bundle.write(bundle, msgspec.structs.replace(card, files=files))
    with pytest.raises(VerificationError, match="do not fit model 'linear'"):
        zoo.load(bundle)


def test_unknown_names_and_paths() -> None:
    with pytest.raises(UsageError, match=r"unknown model 'resnett'\. Did you mean 'resnet'"):
        zoo.load("resnett")
    with pytest.raises(UsageError, match=r"\./nowhere is not a bundle: expected a folder"):
        zoo.load("./nowhere")


def test_a_trained_network_for_other_classes_and_channels() -> None:
    trained = zoo.load("cnn").state_dict()
    other = zoo.load("cnn", classes=5, channels=3)
    assert other(torch.zeros(2, 3, 28, 28)).shape == (2, 5)
    kept = {n for n, v in other.state_dict().items() if torch.equal(v, trained.get(n, v[:0]))}
    assert kept == {"conv2.weight", "conv2.bias"}
    assert zoo.load("resnet", classes=3)(torch.zeros(1, 1, 28, 28)).shape == (1, 3)
    assert zoo.load("cnn", classes=7, pretrained=False)(torch.zeros(1, 1, 28, 28)).shape == (1, 7)
    for name, sizes, said in (
        ("cnn", {"classes": 1}, "classes=1: cnn can have 2 or more"),
        ("linear", {"classes": 3}, "classes=3: linear can have none: regression"),
        ("logistic", {"channels": 3}, "channels=3: logistic can have none: it takes a table"),
        ("cnn", {"channels": 0}, "channels=0: cnn can have 1 or more"),
        ("cnn", {"classes": "5"}, "classes='5': expected a whole number"),
    ):
        with pytest.raises(UsageError, match=said):
            zoo.load(name, **sizes)
