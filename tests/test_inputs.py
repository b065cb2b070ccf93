"""What people hand to a session: files, PIL images, arrays of other forms, frames; as the CLI."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import battery
import numpy as np
import pytest
from conftest import labels, rows_of
from PIL import Image

import zoo
from zoo import arrays, datasets, images
from zoo.datasets import mnist
from zoo.errors import DataError
from zoo.spec import ImageSpec


@pytest.fixture(scope="module")
def session() -> zoo.Session:
    return zoo.Session("cnn", device="cpu")


@pytest.fixture(scope="module")
def linear() -> zoo.Session:
    return zoo.Session("linear", device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three digits under conditions that need the preparation."""
    paths = []
    for digit, condition in ((3, "phone photo"), (7, "small"), (0, "red on blue")):
        picture = battery.conditions(np.random.default_rng(0))[condition](battery.drawn(digit, 0))
        paths.append(tmp_path / f"数字 {digit}.png")
        picture.save(paths[-1])
    return paths


def test_pictures_are_prepared_as_on_the_command_line(
    session: zoo.Session, photos: list[Path], zoo_cli: Callable[..., Any]
) -> None:
    rows = rows_of(zoo_cli("predict", "cnn", *photos, "--json"))
    opened = [Image.open(path) for path in photos]
    for given in (
        photos,
        tuple(map(str, photos)),
        [path.read_bytes() for path in photos],
        opened,
        [np.asarray(image) for image in opened],
        [photos[0], opened[1], photos[2].read_bytes()],
        (path for path in photos),
    ):
        found = session.predict(given)
        assert found.labels == ["3", "7", "0"] == [row["label"] for row in rows]
        assert found.probabilities.max(axis=1).tolist() == [row["probability"] for row in rows]
    for one in (photos[1], str(photos[1]), photos[1].read_bytes(), opened[1]):
        assert session.predict(one).labels == session.predict_images(one).labels == ["7"]
    assert session.predict([]).probabilities.shape == (0, 10)
    plain = session.predict_images(photos, prepare="none")
    expected = images.decode(photos[0], session.card.spec, prepare="none")  # type: ignore[arg-type]
    np.testing.assert_array_equal(
        plain.probabilities[0], session.predict(expected[np.newaxis]).probabilities[0]
    )
    bright = 255 - mnist.load_test().inputs[:5]
    assert session.predict_images(bright).labels == list("72104")
    assert session.predict_images(bright, invert="yes").labels == list("72104")
    for image in opened:
        image.close()


FORMS: dict[str, Callable[[np.ndarray], Any]] = {
    "floats of 0 to 1": lambda digits: digits / 255,
    "float32, channels first": lambda digits: (digits / np.float32(255)).transpose(0, 3, 1, 2),
    "half floats": lambda digits: (digits / 255).astype(np.float16),
    "floats of 0 to 255": lambda digits: digits.astype(np.float32),
    "int64": lambda digits: digits.astype(np.int64),
    "16 bits": lambda digits: digits.astype(np.uint16) * 257,
    "10 bits": lambda digits: np.round(digits / 255 * 1023).astype(np.uint16),
    "no channels": lambda digits: digits[..., 0],
    "channels first": lambda digits: digits.transpose(0, 3, 1, 2),
    "flattened": lambda digits: digits.reshape(len(digits), 784),
    "flattened floats": lambda digits: digits.reshape(len(digits), 784) / 255,
    "a list of images": lambda digits: list(digits[..., 0]),
    "a list of floats": lambda digits: [image / 255 for image in digits[..., 0]],
    "rounded outside": lambda digits: digits / 255 * (1 + 2e-7) - 1e-8,
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_other_forms_are_the_same_digits(
    form: str, session: zoo.Session, digits: mnist.Split, zoo_cli: Callable[..., Any]
) -> None:
    some = digits.inputs[:300]
    given = FORMS[form](some)
    expected = session.predict(some)
    np.testing.assert_allclose(
        session.predict(given).probabilities, expected.probabilities, atol=0.03
    )
    assert session.predict(given).labels == expected.labels
    assert session.predict(given[7]).labels == expected.labels[7:8]
    np.save("digits.npy", given)
    assert labels(rows_of(zoo_cli("predict", "cnn", "digits.npy", "--json"))) == [
        int(label) for label in expected.labels
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.int64, np.float32])
def test_zeros_and_ones_are_black_and_white(
    dtype: Any, session: zoo.Session, digits: mnist.Split, zoo_cli: Callable[..., Any]
) -> None:
    some = (digits.inputs[:200] > 127).astype(dtype)
    for given in (some, some[..., 0], 1 - some.astype(np.uint8)):
        found = session.predict(given)
        assert np.mean(found.indices == digits.targets[:200]) > 0.95
    np.savez("drawn.npz", some)
    rows = rows_of(zoo_cli("predict", "cnn", "drawn.npz", "--json"))
    assert [row["label"] for row in rows] == session.predict(some).labels


def test_an_almost_black_picture_is_not_blown_up(session: zoo.Session) -> None:
    rng = np.random.default_rng(0)
    for share in (0.01, 0.1, 0.5, 0.9):
        noise = (rng.random((20, 28, 28, 1)) < share).astype(np.uint8)
        assert arrays.white(noise) == 255
        with pytest.raises(DataError, match=r"images\[0\]: no digit"):
            session.predict_images(noise)
    line = np.eye(28, dtype=np.uint8)[np.newaxis, ..., np.newaxis]
    assert arrays.white(line) == 1
    dark = rng.integers(0, 4, (3, 28, 28, 1), np.uint8)
    np.testing.assert_array_equal(
        session.predict(dark).probabilities, session.run(dark)[1], "as it is"
    )


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (["good", "none.png"], r"images\[1\] \(none.png\): no such file"),
        ("none.png", r"^none.png: no such file"),
        (["good", b"nonsense"], r"images\[1\]: not an image in a known format"),
        (["good", b""], r"images\[1\]: empty file"),
        (["good", Image.new("L", (50, 50), 255)], r"images\[1\]: no digit"),
        (["good", None], r"images\[1\]: expected a path, bytes, a PIL image or an array, given No"),
        (["good", np.zeros((3, 4, 5, 6))], r"images\[1\]: expected an array \[height, width\]"),
        (5, r"images: expected a path, bytes, a PIL image or an array, given int"),
        ({"a": 1}, r"images: expected a path, .* given dict"),
        (np.full((2, 28, 28), -0.42), r"images: expected pixels of 0 to 255 or of 0 to 1, given -"),
        (
            np.full((2, 28, 28), 1000.0),
            r"expected pixels of 0 to 255 or of 0 to 1, given 0 to 1000",
        ),
        (np.full((2, 28, 28), 1 << 20), "given 0 to 1"),
        (np.full((2, 28, 28), "x"), "expected numbers, given <U1"),
        ([np.zeros((28, 28)), np.zeros((28, 28))], r"images\[0\]: no digit"),
    ],
)
def test_a_bad_element_is_named(
    given: Any, reason: str, session: zoo.Session, photos: list[Path]
) -> None:
    if isinstance(given, list):
        given = [photos[0] if isinstance(item, str) and item == "good" else item for item in given]
    with pytest.raises(DataError, match=reason):
        session.predict(given)


def test_a_number_that_is_not_finite_is_that_images_error(
    session: zoo.Session, digits: mnist.Split, zoo_cli: Callable[..., Any]
) -> None:
    floats = digits.inputs[:5] / 255
    floats[3, 4, 5] = np.nan
    with pytest.raises(DataError, match=r"images\[3\]: pixels that are not finite numbers"):
        session.predict(floats)
    np.save("nan.npy", floats)
    result = zoo_cli("predict", "cnn", "nan.npy", "--json")
    assert result.exit_code == 3
    assert [row["error"] is None for row in rows_of(result)] == [True, True, True, False, True]


def test_color_models_take_color(tmp_path: Path) -> None:
    spec = ImageSpec(3, 8, (0.0,) * 3, (1.0,) * 3)
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (4, 8, 8, 3), np.uint8)
    for given in (color, color.transpose(0, 3, 1, 2), color / 255):
        rows = arrays.shaped(given, spec)
        assert rows is not None
        np.testing.assert_array_equal(arrays.eight_bits(rows, arrays.white(rows)), color)
    assert arrays.shaped(color.reshape(4, -1), spec) is None


# --- tables ---


class Frame:
    """What frames of pandas and polars have in common."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns
        self.columns = list(columns)

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]


def test_tables_of_every_kind(linear: zoo.Session) -> None:
    import pyarrow as pa

    features = datasets.load("diabetes").test.inputs[:20]
    expected = linear.predict(features).values
    names = zoo.card("linear").spec.columns  # type: ignore[union-attr]
    columns = {name: features[:, number] for number, name in enumerate(names)}
    extra = {"id": [f"p{number}" for number in range(20)]} | dict(reversed(columns.items()))
    rows = [dict(zip(names, map(float, row), strict=True)) | {"id": "x"} for row in features]
    texts = {name: [str(value) for value in column] for name, column in columns.items()}
    for given in (
        extra, Frame(extra), pa.table(extra), rows, iter(rows), texts,
        features.astype(np.float64), features.tolist(), [list(row) for row in features],
    ):  # fmt: skip
        np.testing.assert_allclose(linear.predict(given).values, expected, rtol=1e-6)
    lines = [
        ",".join(extra),
        *(",".join(map(str, row)) for row in zip(*extra.values(), strict=True)),
    ]
    Path("rows.csv").write_text("\n".join(lines))
    np.testing.assert_allclose(linear.predict("rows.csv").values, expected, rtol=1e-6)
    for one in (rows[3], features[3], features[3].tolist()):
        np.testing.assert_allclose(linear.predict(one).values, expected[3:4], rtol=1e-6)
    assert linear.predict_table(rows[:2]).values.shape == (2,)
    assert linear.predict([]).values.shape == (0,)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: rows[0].pop("bmi"), r"row 0: missing columns: bmi"),
        (lambda rows: [row.pop("bmi") for row in rows], "missing columns: bmi"),
        (lambda rows: rows[4].update(age="n/a"), r"row 4, column 'age': expected a number, given"),
        (lambda rows: rows[4].update(age=float("nan")), "row 4, column 'age': expected a finite"),
        (lambda rows: rows[2].update(age=1e300), "row 2, column 'age': expected a finite"),
        (lambda rows: rows[2].update(age=None), "row 2, column 'age': expected a"),
    ],
)
def test_a_bad_value_of_a_table_is_named(
    change: Callable[[Any], Any], reason: str, linear: zoo.Session
) -> None:
    names = zoo.card("linear").spec.columns  # type: ignore[union-attr]
    rows = [dict.fromkeys(names, 1.0) for _ in range(5)]
    change(rows)
    with pytest.raises(DataError, match=reason):
        linear.predict(rows)


def test_other_tables_are_one_clear_line(linear: zoo.Session, session: zoo.Session) -> None:
    names = zoo.card("linear").spec.columns  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"expected float32 \[batch, 10\], given .*\[2, 9\]"):
        linear.predict(np.ones((2, 9)))
    with pytest.raises(DataError, match="rows of different lengths"):
        linear.predict([[1.0] * 10, [1.0] * 9])
    with pytest.raises(DataError, match="columns of different lengths: age 3"):
        linear.predict({name: [1.0] * (3 if name == "age" else 2) for name in names})
    with pytest.raises(DataError, match="takes a table, not images"):
        linear.predict_images("x.png")
    with pytest.raises(DataError, match="takes images, not a table"):
        session.predict_table([{"a": 1}])
    with pytest.raises(DataError, match=r"patients\.csv: no such file"):
        linear.predict("patients.csv")
    twice = Frame({name: [1.0] for name in names})
    twice.columns.append(names[0])
    with pytest.raises(DataError, match=f"column '{names[0]}' is there 2 times"):
        linear.predict(twice)


def test_tensors_of_torch_need_no_import_of_ours(session: zoo.Session, digits: mnist.Split) -> None:
    torch = pytest.importorskip("torch")
    tensors = torch.from_numpy(digits.inputs[:8]).permute(0, 3, 1, 2) / 255
    assert session.predict(tensors).labels == session.predict(list(tensors)).labels
    assert session.predict(tensors).indices.tolist() == digits.targets[:8].tolist()
    assert "torch" not in sys.modules[zoo.Session.__module__].__dict__
    file = io.BytesIO()
    Image.fromarray(digits.inputs[0, :, :, 0]).save(file, "PNG")
    assert session.predict(bytearray(file.getvalue())).labels == ["7"]
