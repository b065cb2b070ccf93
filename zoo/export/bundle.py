"""`zoo export`: a bundle's network as a file, as a bundle or as a folder of test vectors."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from zoo.bundle.card import ONNX, WEIGHTS, Parity
from zoo.bundle.folder import Bundle
from zoo.errors import UsageError, VerificationError, ZooError
from zoo.evaluation import metrics
from zoo.evaluation.evaluate import dataset
from zoo.export import parity
from zoo.export.graph import contract, quiet, to_bytes, to_model
from zoo.export.parity import Measured
from zoo.export.precision import CALIBRATION, Half, defuse, normalized, quantize
from zoo.export.variant import Variant
from zoo.files import sha256, write_atomic
from zoo.network.pipeline import Pipeline, own_error, run_torch
from zoo.network.pretrained import load
from zoo.spec import TableSpec


class Exported(NamedTuple):
    """An ONNX file in memory, and its figures on `samples`, the raw inputs of the test set."""

    graph: bytes
    measured: Measured
    confusion: tuple[tuple[int, ...], ...]
    samples: NDArray[Any]


def build(bundle: Bundle, variant: Variant) -> Exported:
    """Export a bundle's network in memory, and measure it on the whole test set.

    Raises:
        UsageError: this variant is not available. VerificationError: it is not good enough (see
        `zoo.export.parity`), or a file does not match the card.
    """
    card = bundle.card
    pipeline = Pipeline(load(bundle), card.spec, card.task).eval()
    rows, samples, targets = _rows(bundle, variant)
    meta = contract(card.name, card.task, card.labels, card.files[WEIGHTS])
    if variant != Variant():
        meta["variant"] = variant
    if variant.preprocess == "none":  # the caller normalizes: take it out of the graph
        rows, samples = normalized(pipeline, rows), normalized(pipeline, samples)
        pipeline.add_module("normalise", nn.Identity())
        pipeline.image = False
        unit = int(card.spec.unit)
        meta["normalize"] = {"divide_by": unit, "mean": card.spec.mean, "std": card.spec.std}
    expected = run_torch(pipeline, samples)
    model = _convert(pipeline, bundle, variant, rows)
    graph = to_bytes(model, meta)
    run = parity.open_graph(graph)
    outputs = run(samples, variant.batch or parity.run_rows(samples))
    if variant.precision == "fp16" and not np.isfinite(outputs).all():
        raise VerificationError(
            f"{card.name} in fp16: half precision ends at 65,504, and larger numbers occur in this "
            f"network (its outputs reach {np.abs(expected).max():,.0f}): export fp32 or int8"
        )
    scores = [
        metrics.measure(card.task, each, targets) if targets is not None else {}
        for each in (outputs, expected)
    ]
    found = msgspec.structs.asdict(parity.difference(expected, outputs))
    measured = Measured(**found, test=scores[0], fp32=scores[1])
    if variant.precision == "fp32":
        error = own_error(pipeline, samples, expected) if variant.preprocess == "graph" else 0.0
        limit = parity.check_fp32(expected, outputs, measured, error)
    else:
        limit = parity.check_lossy(card, measured, float(np.abs(expected).max()))
    if variant.batch is None:
        parity.check_batches(run, samples, outputs, limit)
    if variant != Variant():  # the default's figures are on its card
        graph = to_bytes(model, meta | {"measured": measured})
    confusion = card.confusion
    if targets is not None:
        confusion = metrics.confusion(card.task, outputs, targets)
    return Exported(graph, measured, confusion, samples)


def _rows(
    bundle: Bundle, variant: Variant
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return inputs to calibrate on, and inputs and targets of the test set.

    Float32 needs the data for its proof alone: where they are gone, it is proven on generated
    inputs, which have no targets.
    """
    try:
        data = dataset(bundle)
    except ZooError as error:
        if variant.precision != "fp32" or not bundle.card.recipe.data:
            raise
        print(f"proven on generated inputs, the data are not at hand: {error}", file=sys.stderr)
        spec, rng = bundle.card.spec, np.random.default_rng(0)
        shape = (min(1000, spec.tensor.rows(1000)), *spec.tensor.row)
        if spec.tensor.dtype == "uint8":
            return np.empty(0), rng.integers(0, 256, shape, np.uint8), None
        inputs = rng.normal(spec.mean, spec.std, shape).astype(np.float32)
        return np.empty(0), inputs, None
    # A folder's rows are sorted by class: calibrate on every n-th row, not on the first ones.
    stride = -(-len(data.train.targets) // CALIBRATION)
    return data.train.inputs[::stride], data.test.inputs, data.test.targets


def _convert(
    pipeline: Pipeline, bundle: Bundle, variant: Variant, rows: NDArray[Any]
) -> onnx.ModelProto:
    """Convert to the variant's precision and opset; `rows` are the inputs to calibrate int8 on."""
    card = bundle.card
    if variant.precision == "fp16":
        pipeline.network = Half(pipeline.network)
    model = to_model(pipeline, card.spec, variant, len(card.labels))
    if variant.precision == "fp16":
        defuse(model.graph)
    elif variant.precision == "int8":
        with quiet():
            wide = isinstance(card.spec, TableSpec)
            model = quantize(model, rows, variant.batch or 64, wide=wide)
    opset = model.opset_import[0].version
    if variant.opset not in (None, opset):
        raise UsageError(
            f"opset {variant.opset}: {card.name} in {variant.precision} needs opset {opset}"
        )
    return model


def export_bundle(
    bundle: Bundle, to: str | Path, variant: Variant | None = None, *, vectors: bool = False
) -> Measured:
    """Export a bundle's network to a file, a bundle or a folder of test vectors.

    Args:
        bundle: with the weights.
        to: a file; or, if it is an existing folder or ends in "/", the folder of a new bundle.
        variant: None: the variant that bundles have.
        vectors: write the file and test vectors into the folder `to`; see `zoo.export.vectors`.

    Raises:
        UsageError: this variant is not available, or the folder is not empty.
        VerificationError: as `build`; nothing was written. OSError: it cannot be written.
    """
    variant, path = variant or Variant(), Path(to)
    as_bundle = not vectors and (str(to).endswith(("/", os.sep)) or path.is_dir())
    if as_bundle and (variant.batch or variant.preprocess == "none"):
        raise UsageError(
            f"{to} would be a bundle, which takes raw inputs at any batch size: name a file, or "
            "leave out batch and preprocess"
        )
    regular = not path.exists() or path.is_file()  # /dev/stdout is not
    if not as_bundle and not vectors and regular and path.suffix not in ("", ".onnx"):
        raise UsageError(f"{to}: expected a name ending in .onnx, or DIR/ for a bundle")
    if (as_bundle or vectors) and path.exists() and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{to}: expected a new or an empty folder")
    try:
        exported = build(bundle, variant)
    except VerificationError as error:
        raise VerificationError(f"{error}; nothing was written") from None
    if vectors:
        from zoo.export.vectors import write_vectors

        write_vectors(path, exported.graph, exported.samples, variant)
    elif as_bundle:
        _write_bundle(bundle, path, exported, variant)
    else:
        write_atomic(path, exported.graph)
    return exported.measured


def _write_bundle(bundle: Bundle, folder: Path, exported: Exported, variant: Variant) -> None:
    card, measured = bundle.card, exported.measured
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / WEIGHTS, bundle.read(WEIGHTS))
    write_atomic(folder / ONNX, exported.graph)
    changes = {
        "title": card.title + (f", {variant.precision}" if variant.precision != "fp32" else ""),
        "test": measured.test or card.test,
        "confusion": exported.confusion,
        "parity": Parity(measured.max_abs_difference, measured.same_top1, measured.samples),
        "seeds": None,  # they are figures of fp32
        "files": {name: sha256(folder / name) for name in (WEIGHTS, ONNX)},
    }
    Bundle.write(folder, msgspec.structs.replace(card, **changes))
