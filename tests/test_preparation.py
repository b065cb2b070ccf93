"""Digits from the real world: the battery's figures, and the pictures on which 0.2.0 failed."""

from __future__ import annotations

import io
import sys
from typing import Any

import battery
import msgspec
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import zoo
from zoo import images, preparation
from zoo.datasets import mnist
from zoo.errors import DataError
from zoo.spec import ImageSpec

sys.path.insert(0, str(ROOT / "benchmarks"))
import robustness


@pytest.fixture(scope="module")
def spec() -> ImageSpec:
    spec = zoo.card("cnn").spec
    assert isinstance(spec, ImageSpec)
    return spec


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What `benchmarks/robustness.py` finds on every tenth digit of the battery."""
    return robustness.measure(every=10)


def test_every_model_reads_the_battery(measured: dict[str, Any]) -> None:
    assert len(measured["pictures"]) >= 24
    found = {model: robustness.accuracies(measured, model) for model in robustness.MODELS}
    assert len(found) == 6
    for model, accuracies in found.items():
        assert np.mean(list(accuracies.values())) >= 0.92, model
    for condition in measured["pictures"]:
        mean = np.mean([accuracies[condition] for accuracies in found.values()])
        assert mean >= 0.80, condition


def test_the_cards_figure_is_what_is_measured(measured: dict[str, Any]) -> None:
    """The published result names the pictures read wrongly: the sample's must be those."""
    published = msgspec.json.decode(robustness.RESULTS.read_bytes())
    sample = {
        f"{source} {digit}" for source, digit, _, _ in battery.pictures(10, only="dark on light")
    }
    for model in robustness.MODELS:
        assert zoo.card(model).robustness == robustness.robustness(published, model)
        now, before = measured["models"][model]["wrong"], published["models"][model]["wrong"]
        changed = sum(
            len(set(now[condition]) ^ (set(before[condition]) & sample)) for condition in now
        )
        assert changed <= 3, model  # of 884; rounding differs by processor


def test_what_is_the_models_input_passes_untouched(spec: ImageSpec) -> None:
    for split in (mnist.load().train, mnist.load_test()):
        prepared, errors = images.fit(split.inputs, spec)
        assert prepared is split.inputs
        assert not any(errors)
    assert preparation.are_centered(mnist.load_test().inputs)
    clothes = np.random.default_rng(0).integers(0, 255, (50, 28, 28, 1), np.uint8)
    assert not preparation.are_centered(clothes)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((200, 300), 255), np.zeros((28, 28)), np.full((28, 28), 90), np.zeros((5, 5)),
        np.full((1, 1), 7), 128 + np.random.default_rng(0).normal(0, 8, (150, 150)),
        np.linspace(0, 255, 200 * 200).reshape(200, 200),
    ],
    ids=["white", "black 28", "gray 28", "tiny", "one pixel", "noise", "gradient"],
)  # fmt: skip
def test_a_picture_without_a_digit_is_an_error(pixels: Any, spec: ImageSpec) -> None:
    with pytest.raises(DataError, match="no digit"):
        images.decode(png(Image.fromarray(np.asarray(pixels).astype(np.uint8))), spec)


def test_the_digit_is_scaled_and_centered_as_mnist_was(spec: ImageSpec) -> None:
    for condition in ("small", "off center", "phone photo", "red on blue"):
        rng = np.random.default_rng(1)
        picture = battery.conditions(rng)[condition](battery.drawn(4, 0))
        digit = images.decode(png(picture), spec)[:, :, 0].astype(float)
        rows, columns = np.flatnonzero(digit.max(1) > 60), np.flatnonzero(digit.max(0) > 60)
        assert 18 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        steps = np.arange(28)
        assert abs((digit.sum(1) * steps).sum() / digit.sum() - 13.5) <= 0.6
        assert abs((digit.sum(0) * steps).sum() / digit.sum() - 13.5) <= 0.6
        assert digit.max() == 255
        assert np.median(digit) == 0


def test_none_leaves_the_picture_as_it_is(spec: ImageSpec) -> None:
    picture = battery.conditions(np.random.default_rng(0))["small"](battery.drawn(3, 0))
    plain = images.decode(png(picture), spec, prepare="none", invert="no")
    expected = np.asarray(picture.convert("L").resize((28, 28), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(plain[:, :, 0], expected)


def test_ink_of_one_kind_on_request(spec: ImageSpec) -> None:
    dark = png(battery.conditions(np.random.default_rng(0))["dark on light"](battery.drawn(0, 0)))
    found = images.decode(dark, spec, invert="yes")
    np.testing.assert_array_equal(found, images.decode(dark, spec))


@pytest.mark.parametrize(
    ("size", "dark"), [((140, 160), True), ((112, 112), True), ((280, 280), False)]
)
def test_wide_strokes_on_even_paper_stay_whole(
    size: tuple[int, int], dark: bool, spec: ImageSpec
) -> None:
    """MNIST's own digits enlarged: their strokes are wide for their pictures."""
    train = mnist.load().train
    digits, pictures = train.inputs[:300, :, :, 0], []
    for digit in 255 - digits if dark else digits:
        file = io.BytesIO()
        large = Image.fromarray(digit).resize(size, Image.Resampling.BICUBIC)
        large.save(file, "JPEG", quality=85)
        pictures.append(images.decode(file.getvalue(), spec))
    answers = zoo.Session("cnn").predict(np.stack(pictures))
    assert np.mean(answers.indices == train.targets[:300]) > 0.985
