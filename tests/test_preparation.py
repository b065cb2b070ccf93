"""Digits from the real world: the battery's figures, and the pictures on which 0.2.0 failed."""

from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

import battery
import numpy as np
import pytest
from PIL import Image

import zoo
from zoo import images, preparation
from zoo.datasets import mnist
from zoo.errors import DataError
from zoo.spec import ImageSpec

MODELS = ("softmax", "cnn", "googlenet", "resnet", "rnn", "rnn_cell")


@pytest.fixture(scope="module")
def spec() -> ImageSpec:
    spec = zoo.card("cnn").spec
    assert isinstance(spec, ImageSpec)
    return spec


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_every_model_reads_the_battery(spec: ImageSpec) -> None:
    arrays, digits, conditions = [], [], []
    for _, digit, condition, picture in battery.pictures(every=5):
        arrays.append(images.decode(png(picture), spec))
        digits.append(digit)
        conditions.append(condition)
    right: dict[str, list[float]] = defaultdict(list)
    for model in MODELS:
        answers = zoo.Session(model, device="cpu").predict(np.stack(arrays)).indices
        correct = answers == np.array(digits)
        by_condition = [
            float(correct[np.array(conditions) == condition].mean())
            for condition in dict.fromkeys(conditions)
        ]
        assert np.mean(by_condition) >= 0.92, model
        for condition, value in zip(dict.fromkeys(conditions), by_condition, strict=True):
            right[condition].append(value)
    assert len(right) >= 24
    for condition, values in right.items():
        assert np.mean(values) >= 0.80, condition


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
