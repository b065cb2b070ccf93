"""Images with labels in files of arrays: IDX, `.npz`, a CSV file of pixels, Parquet.

train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-...     MNIST, EMNIST, as published
train-images.idx3-ubyte                                  as 7-Zip and Kaggle name what they unpack
mnist.npz                                                x_train, y_train, x_test, y_test
mnist_train.csv, mnist_test.csv                          label and pixels, a row each
train-00000-of-00001.parquet, test-...                   as on the Hugging Face Hub
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo import images
from zoo.arrays import eight_bits, white
from zoo.datasets import csv, idx, parquet, pixels
from zoo.datasets.classes import PARTS
from zoo.datasets.torchvision import Raw
from zoo.errors import DataError, UsageError, listed
from zoo.spec import ImageSpec

_FIRST = "train-images-idx3-ubyte"
_IDX = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)[-_. ](?P<kind>images|labels)"
    r"[-_. ]?(idx[13])?[-_. ]?(ubyte)?"
)
_PART = re.compile(
    rf"(?<![a-z])({'|'.join(name for names in PARTS.values() for name in names)})(?![a-z])"
)
_ARRAY = re.compile(
    rf"([a-z]*?)[-_. ]?({'|'.join(n for names in PARTS.values() for n in names)})[-_. ]?([a-z]*)"
)
_X = {"x", "image", "images", "img", "imgs", "data", "pixels", "features"}
_Y = {"y", "label", "labels", "target", "targets", "class", "classes"}
#: The classes of EMNIST by number (G. Cohen, S. Afshar, J. Tapson, A. van Schaik, 2017).
_MERGED = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
_EMNIST = {
    "byclass": "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": "-abcdefghijklmnopqrstuvwxyz",
}
#: Numbers of classes that EMNIST has and MNIST has not.
_LETTERS = {26, 27, 36, 37, 47, 62}
#: Side in pixels of the images of Parquet files that are not all of one size.
_SIDE = 28


@dataclass
class Arrays:
    """Images with labels.

    Attributes:
        parts: images and class numbers of "train", and of "validation" and "test" if there are any.
        names: of the classes, by number; empty: there are numbers alone.
        notes: lines that a user should read.
    """

    parts: dict[str, Raw]
    names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def read(
    path: Path, target: str = "", spec: ImageSpec | None = None, size: int = 0
) -> Arrays | None:
    """Read images with labels; None: the path is a folder of something else.

    Args:
        path: a file, or a folder of such files.
        target: the column of labels in Parquet files; by default it is found by its name.
        spec: that of the model to evaluate, for which encoded images are decoded; by default they
            are read for training, and a part to train on has to be there.
        size: of those; 0 is that of the images.

    Raises:
        DataError: missing, damaged, or not in one of the forms above. UsageError: no such column.
    """
    training = spec is None
    if path.is_dir():
        folders = [folder for folder in path.iterdir() if folder.is_dir() and folder.name[0] != "."]
        files = sorted(file for file in path.iterdir() if file.is_file())
        if any(idx.looks_like_idx(entry.name) for entry in (*files, *folders)):
            return _idx(path, target, training)
        if len(folders) == 1 and not any(map(_is_data, files)):  # the Hub's data/
            files = sorted(file for file in folders[0].rglob("*") if file.is_file())
        elif len(folders) > 1:
            return None
        files = [file for file in files if _is_data(file)]
        if not files:
            return None
    else:
        files = [path]
        if not _is_data(path):
            return _idx(path, target, training)
    kinds = {_kind(file) for file in files}
    if len(kinds) > 1:
        raise DataError(
            f"{path}: several kinds of files, {listed(sorted(kinds))}: give one of them"
        )
    (kind,) = kinds
    if kind != "parquet":
        _no_target(path, target)
    if kind == "npz":
        if len(files) > 1:
            raise DataError(f"{path}: several .npz files: give one of them")
        return _npz(files[0], training)
    by_part = _by_part(path, files, training)
    if kind == "csv":
        return _csv(by_part)
    return _parquet(by_part, target, spec, size)


def _no_target(path: Path, target: str) -> None:
    if target:
        raise UsageError(f"--target names a column of a table, given images: {path}")


def _is_data(path: Path) -> bool:
    return _kind(path) != "" and not path.name.startswith(".")


def _kind(path: Path) -> str:
    name = path.name.lower()
    if csv.looks_like_csv(name):
        return "csv"
    return next((suffix for suffix in ("npz", "parquet") if name.endswith(f".{suffix}")), "")


def _by_part(path: Path, files: Sequence[Path], training: bool) -> dict[str, list[Path]]:
    """Sort files by the part that their name, or else their folder's, is of."""
    if len(files) == 1:
        return {"train": list(files)}
    found: dict[str, list[Path]] = {}
    for file in files:
        match = _PART.search(file.name.lower()) or _PART.search(file.parent.name.lower())
        if not match:
            raise DataError(f"{path}: {file.name} is neither for training nor for testing by name")
        part = next(part for part, names in PARTS.items() if match[1] in names)
        found.setdefault(part, []).append(file)
    if training and "train" not in found:
        raise DataError(f"{path}: no file to train on, found {listed([f.name for f in files])}")
    return found


# --- IDX ---


def _idx(path: Path, target: str, training: bool) -> Arrays:
    _no_target(path, target)
    folder = path if path.is_dir() else path.parent
    found: dict[tuple[str, str, str], Path] = {}
    nested = [inner for outer in sorted(folder.iterdir()) if outer.is_dir()
              and idx.looks_like_idx(outer.name) for inner in sorted(outer.iterdir())]  # fmt: skip
    for file in [*nested, *sorted(folder.iterdir())]:  # the latter come last, so they stay
        match = _IDX.fullmatch(file.name.lower().removesuffix(".gz"))
        if match and file.is_file():
            part = "train" if match["part"] == "train" else "test"
            found[match["prefix"], part, match["kind"]] = file
    prefixes = {prefix for prefix, part, _ in found if part == "train" or not training}
    wanted = ["train", "test"]
    if path.is_file():
        match = _IDX.fullmatch(path.name.lower().removesuffix(".gz"))
        prefixes &= {match["prefix"] if match else path.name}
        if match and not training:  # this file alone
            wanted = ["train" if match["part"] == "train" else "test"]
    if len(prefixes) != 1:
        count = f"there are several: {listed(sorted(prefixes))}" if prefixes else "there are none"
        raise DataError(f"{path}: expected IDX files named {_FIRST} (.gz) and so on, {count}")
    (prefix,) = prefixes
    parts = {}
    for part in wanted:
        files = [found.get((prefix, part, kind)) for kind in ("images", "labels")]
        if files == [None, None]:
            continue
        if None in files:
            raise DataError(f"{folder}: expected {prefix}{part}-images and -labels, one is missing")
        pictures, numbers = (idx.pictures(file) for file in files if file)
        if pictures.dtype != np.uint8 or pictures.ndim != 3 or numbers.shape != pictures.shape[:1]:
            shapes = f"{pictures.dtype} {list(pictures.shape)} and {list(numbers.shape)}"
            raise DataError(f"{files[0]}: expected uint8 [n, height, width] and [n], not {shapes}")
        parts[part] = Raw(pictures[..., np.newaxis], numbers.astype(np.int64))
    names: tuple[str, ...] = ()
    if (file := folder / "labels.txt").is_file():
        names = tuple(line.strip() for line in file.read_text("utf-8", "replace").splitlines())
        if blank := [number for number, name in enumerate(names) if not name]:
            raise DataError(f"{file} line {blank[0] + 1}: the name of a class is blank")
    names = names or _emnist_names(prefix)
    part, raw = next(iter(parts.items()))
    return Arrays(parts, names, _hint(found[prefix, part, "images"], raw))


def _emnist_names(name: str) -> tuple[str, ...]:
    split = next((split for split in _EMNIST if split in name), "")
    return tuple(_EMNIST[split]) if split and idx.is_transposed(name) else ()


def _hint(path: Path, train: Raw) -> list[str]:
    """Say how images of EMNIST would be turned, if these may be some."""
    if idx.is_transposed(path.name):
        return [f"{path.name} is of EMNIST, which is published transposed: turned upright"]
    letters = len(np.unique(train.numbers)) in _LETTERS and train.images.shape[1:3] == (28, 28)
    if letters or idx.is_transposed(path.parent.name):
        return [
            f"if {path.name} is of EMNIST, its images lie on their side: give the files their "
            "published names (emnist-...), and they are turned"
        ]
    return []


# --- npz ---


def _npz(path: Path, training: bool) -> Arrays:
    arrays: dict[tuple[str, str], NDArray[Any]] = {}
    names: dict[tuple[str, str], str] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as loaded:
            for name in loaded.files:
                if key := role(name):
                    arrays[key], names[key] = loaded[name], name
            known = list(loaded.files)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, TypeError) as error:
        raise DataError(f"{path}: damaged .npz file ({error})") from None
    parts = {part for part, _ in arrays}
    if "" in parts and "train" not in parts:
        arrays = {(part or "train", kind): array for (part, kind), array in arrays.items()}
        names = {(part or "train", kind): name for (part, kind), name in names.items()}
    needed = ["train"] if training else ["test", "validation", "train"]
    if not any({(part, "x"), (part, "y")} <= set(arrays) for part in needed):
        raise DataError(
            f"{path}: expected arrays x_train and y_train, images and labels, or X and y; "
            f"found {listed(known)}"
        )
    pictures, labels = {}, {}
    for part in PARTS:
        if (part, "x") in arrays and (part, "y") in arrays:
            where = f"{path}: {names[part, 'x']}"
            pictures[part] = as_pictures(arrays[part, "x"], where)
            labels[part] = _as_labels(arrays[part, "y"], f"{path}: {names[part, 'y']}")
            if len(labels[part]) != len(pictures[part]):
                counts = f"{len(pictures[part])} images, {len(labels[part])} labels"
                raise DataError(f"{where}: {counts}")
    return _numbered(pictures, labels, str(path))


def role(name: str) -> tuple[str, str] | None:
    """Return what an array is by its name: its part ("" for all data), and "x" or "y"."""
    text = name.lower()
    part, kind = "", text
    if match := _ARRAY.fullmatch(text):
        kind = match[1] + match[3]
        part = next(part for part, names in PARTS.items() if match[2] in names)
    return (part, "x") if kind in _X else (part, "y") if kind in _Y else None


def as_pictures(array: NDArray[Any], where: str) -> NDArray[np.uint8]:
    """Return an array of images as uint8 [n, height, width, 1 or 3].

    Args:
        array: [n, height, width], with channels last or first, or [n, side * side]; what is white
            in them is as `zoo.arrays.white` finds it.
        where: what a message says of it.

    Raises:
        DataError: another shape or type, or numbers out of range.
    """
    shape = array.shape
    if array.ndim == 2 and (side := round(shape[1] ** 0.5)) ** 2 == shape[1] and side > 1:
        array = array.reshape(-1, side, side, 1)
    elif array.ndim == 3:
        array = array[..., np.newaxis]
    elif array.ndim == 4 and shape[-1] not in (1, 3) and shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or array.dtype.kind not in "buif":
        expected = "expected images [n, height, width] of numbers, with 1 or 3 channels or without"
        raise DataError(f"{where} holds {array.dtype} {list(shape)}, {expected}")
    try:
        return np.ascontiguousarray(eight_bits(array, white(array)))
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _as_labels(array: NDArray[Any], where: str) -> list[int | str]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2 and ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
        array = array.argmax(axis=1)  # one-hot
    if array.dtype.kind == "f" and (array == np.floor(array)).all():
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "buiUS":
        shape = f"{array.dtype} {list(array.shape)}"
        raise DataError(f"{where} holds {shape}, expected a class number or name for each image")
    values = array.tolist()
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values
    ]


# --- CSV and Parquet ---


def _csv(files: dict[str, list[Path]]) -> Arrays:
    pictures, labels, notes = {}, {}, []
    for part, paths in files.items():
        arrays: list[NDArray[np.uint8]] = []
        texts: list[int | str] = []
        for path in paths:
            if (form := pixels.layout(csv.header(path))) is None or form.label is None:
                if part == "train" or form is None:
                    what = "labels" if form else "pixels (with --target COLUMN, softmax takes any)"
                    raise UsageError(
                        f"this model takes images: expected a folder of class folders, IDX files, "
                        f"or a table of a label and pixels; {path} has no {what}"
                    )
                notes.append(f"{path.name} has no labels and is passed over")
                continue
            for row in pixels.read(path):
                error = row.error or ("" if row.label else "the label is blank")
                if error or row.image is None:
                    raise DataError(f"{path} line {row.line}: {error}")
                arrays.append(row.image)
                texts.append(_number(row.label))
        if len({array.shape for array in arrays}) > 1:
            raise DataError(f"{paths[0]} and {paths[-1]}: images of several sizes")
        if arrays:
            pictures[part], labels[part] = np.stack(arrays), texts
    first = next(iter(files.values()))[0]
    if not pictures:
        raise DataError(f"{first}: no labels")
    result = _numbered(pictures, labels, str(first))
    result.names = result.names or _emnist_names(first.name.lower())
    result.notes = notes + _hint(first, next(iter(result.parts.values())))
    return result


def _number(text: str) -> int | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return int(value) if value.is_integer() else text


def _parquet(
    files: dict[str, list[Path]], target: str, spec: ImageSpec | None, size: int
) -> Arrays:
    first = next(iter(files.values()))[0]
    names = parquet.class_names(first, target)
    rows = {
        part: [(path, number, row) for path in paths
               for number, row in enumerate(parquet.images(path, target))]
        for part, paths in files.items()
    }  # fmt: skip
    if empty := [part for part, some in rows.items() if not some]:
        raise DataError(f"{files[empty[0]][0]}: no rows")
    if spec is None:
        side = size or _side(row.data for _, _, row in rows["train"])
        spec = ImageSpec(3, side, (0.0,) * 3, (1.0,) * 3)
    pictures, labels, failed, total = {}, {}, [], 0
    for part, some in rows.items():
        arrays, own = [], []
        for path, number, row in some:
            total += 1
            try:
                if row.data is None:
                    raise DataError("the cell is empty")
                arrays.append(images.decode(row.data, spec))
                own.append(row.label)
            except DataError as error:
                failed.append(f"{path}[{number}]: {error}")
        if not arrays:
            raise DataError(f"{failed[0] if failed else files[part][0]}: no image can be read")
        pictures[part], labels[part] = np.stack(arrays), own
    result = _numbered(pictures, labels, str(first))
    result.names = result.names or names
    if failed:
        result.notes = [f"{len(failed):,} of {total:,} images cannot be read, first {failed[0]}"]
    return result


def _side(encoded: Iterable[bytes | None]) -> int:
    """Return the side of images that all have one size, and otherwise 28."""
    sizes = {size for data in encoded if data and (size := images.size_of(data))}
    return max(sizes.pop()) if len(sizes) == 1 else _SIDE


def _numbered(
    pictures: dict[str, NDArray[np.uint8]], labels: dict[str, list[int | str]], where: str
) -> Arrays:
    """Give each label its number: its own if all are numbers, and otherwise its place by name."""
    texts = {str(label).strip() for some in labels.values() for label in some}
    if "" in texts:
        raise DataError(f"{where}: a label is blank")
    names: tuple[str, ...] = ()
    number: Callable[[int | str], int] = int
    if any(isinstance(label, str) for some in labels.values() for label in some):
        names = tuple(sorted(texts))
        places = {name: place for place, name in enumerate(names)}
        number = lambda label: places[str(label).strip()]  # noqa: E731
    return Arrays(
        {
            part: Raw(pictures[part], np.array([number(label) for label in some], np.int64))
            for part, some in labels.items()
        },
        names,
    )
