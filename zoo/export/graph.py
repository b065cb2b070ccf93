"""Export to ONNX: one file, byte-reproducible, and never without proof that it is right.

`nn.RNN` comes out unrolled into 28 steps. ONNX's own RNN operator was compared (ONNX Runtime 1.31,
2 cores): 1.5 times faster at batch 1, 8 times slower at batch 256; unrolled it stays.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from zoo import cards
from zoo.cards import Card, Parity
from zoo.errors import UsageError, VerificationError
from zoo.evaluation import metrics
from zoo.evaluation.evaluate import dataset, run_torch
from zoo.export.precision import (
    CALIBRATION,
    OPSET,
    Half,
    Variant,
    defuse,
    filled,
    normalised,
    quantise,
)
from zoo.files import sha256, write_atomic
from zoo.network.pipeline import Pipeline
from zoo.network.pretrained import load
from zoo.spec import ImageSpec, Spec, TableSpec, Task, outputs
from zoo.version import __version__

#: What ONNX Runtime 1.18 and later load; newer opsets ask for more.
IR_VERSION = 10
ATOL = 1e-4
#: What fp16 and int8 may lose: a share of accuracy or R2; of the largest output of a table model.
LOST, LOOSE = 0.001, 0.01
BATCHES = (1, 2, 3, 7, 1000)
_PART = 500

Run = Callable[[NDArray[Any], int], NDArray[np.float32]]


class Measured(Parity, frozen=True):
    """A file over the whole test set, beside torch in float32: differences and both's metrics."""

    test: dict[str, float]
    fp32: dict[str, float]


class Made(NamedTuple):
    """A file, its figures, its confusion matrix, and the inputs it was measured on."""

    graph: bytes
    measured: Measured
    confusion: tuple[tuple[int, ...], ...]
    samples: NDArray[Any]


def export(
    pipeline: Pipeline, spec: Spec, meta: Mapping[str, Any], samples: NDArray[Any]
) -> tuple[bytes, Parity]:
    """Export a pipeline and compare the result with it on real data.

    Args:
        pipeline: in eval mode, on the CPU.
        spec: its input.
        meta: `contract(...)`, written into the file's metadata.
        samples: raw inputs for the comparison: the whole test set.

    Returns:
        The bytes of the ONNX file, and how well it agrees.

    Raises:
        VerificationError: a difference above 1e-4, another top-1, or batches that disagree.
    """
    graph = _bytes(_model(pipeline, spec, samples, Variant(), len(meta["labels"])), meta)
    return graph, compare(graph, pipeline, samples)


def contract(name: str, task: Task, labels: Sequence[str], weights_sha256: str) -> dict[str, Any]:
    """Return what the file's metadata says, each value to be written as JSON."""
    return {
        "name": name,
        "task": task,
        "labels": list(labels),
        "weights_sha256": weights_sha256,
        "zoo_version": __version__,
    }


def make(bundle: Path, variant: Variant) -> Made:
    """Export a bundle's network once more, in memory, and measure it on the whole test set.

    Raises:
        UsageError: the variant cannot be. VerificationError: it is not good enough (see `_hold`),
        or the bundle was changed.
    """
    card = cards.read(bundle)
    pipeline = Pipeline(load(bundle), card.spec, card.task).eval()
    data = dataset(bundle)
    every = -(-len(data.train.targets) // CALIBRATION)  # a folder's rows come class by class
    rows, samples = data.train.inputs[::every], data.test.inputs
    meta = contract(card.name, card.task, card.labels, card.files[cards.WEIGHTS])
    if variant != Variant():
        meta["variant"] = variant
    if variant.preprocess == "none":
        rows, samples = normalised(pipeline, rows), normalised(pipeline, samples)
        pipeline.add_module("normalise", nn.Identity())
        pipeline.image = False
        unit = 255 if isinstance(card.spec, ImageSpec) else 1
        meta["normalise"] = {"divide_by": unit, "mean": card.spec.mean, "std": card.spec.std}
    expected = run_torch(pipeline, samples)
    if variant.precision == "fp16":
        pipeline.network = Half(pipeline.network)
    model = _model(pipeline, card.spec, samples, variant, len(card.labels))
    if variant.precision == "fp16":
        defuse(model.graph)
    elif variant.precision == "int8":
        table = isinstance(card.spec, TableSpec)
        with _quiet():
            model = quantise(model, rows, variant.batch or 64, wide=table)
    if variant.opset not in (None, opset := model.opset_import[0].version):
        raise UsageError(
            f"opset {variant.opset}: {card.name} in {variant.precision} can only be had in {opset}"
        )
    graph = _bytes(model, meta)
    run = _runs(graph)
    found = run(samples, variant.batch or _PART)
    test = metrics.measure(card.task, found, data.test.targets)
    fp32 = metrics.measure(card.task, expected, data.test.targets)
    parity = _parity(expected, found)
    measured = Measured(**msgspec.structs.asdict(parity), test=test, fp32=fp32)
    if variant.precision == "fp32":
        limit = _agree(expected, parity)
    else:
        limit = _hold(card, measured, float(np.abs(expected).max()))
    if variant.batch is None:
        _batches(run, samples, found, limit)
    if variant != Variant():  # the default's figures are on its card
        graph = _bytes(model, meta | {"measured": measured})
    return Made(graph, measured, metrics.confusion(card.task, found, data.test.targets), samples)


def export_bundle(
    bundle: Path, to: str | Path, variant: Variant | None = None, *, vectors: bool = False
) -> Measured:
    """Export a bundle's network once more: to a file, a bundle or a folder of test vectors.

    Args:
        bundle: where the weights are.
        to: a file; an existing folder or text that ends in "/": a whole bundle is written there.
        variant: None: the file that is in the bundle.
        vectors: write the file with test vectors into the folder `to`; see `zoo.export.vectors`.

    Raises:
        UsageError: the variant or the folder cannot be. VerificationError: as `make`; nothing was
        written. OSError: it cannot be written.
    """
    variant, path = variant or Variant(), Path(to)
    whole = not vectors and (str(to).endswith(("/", os.sep)) or path.is_dir())
    if whole and (variant.batch or variant.preprocess == "none"):
        raise UsageError(
            f"{to} would be a bundle, which takes raw inputs at any batch size: name a file, or "
            "leave out batch and preprocess"
        )
    if (whole or vectors) and path.exists() and (path.is_file() or any(path.iterdir())):
        raise UsageError(f"{to}: expected a new or an empty folder")
    made = make(bundle, variant)
    if vectors:
        from zoo.export.vectors import write_vectors

        write_vectors(path, made.graph, made.samples, variant)
    elif whole:
        _write_bundle(bundle, path, made, variant)
    else:
        write_atomic(path, made.graph)
    return made.measured


def _write_bundle(bundle: Path, folder: Path, made: Made, variant: Variant) -> None:
    card = cards.read(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / cards.WEIGHTS, (bundle / cards.WEIGHTS).read_bytes())
    write_atomic(folder / cards.ONNX, made.graph)
    measured = made.measured
    changes = {
        "title": card.title + f", {variant.precision}" * (variant.precision != "fp32"),
        "test": measured.test,
        "confusion": made.confusion,
        "parity": Parity(measured.max_abs_difference, measured.same_top1, measured.samples),
        "seeds": None,  # theirs are figures of fp32
        "files": {name: sha256(folder / name) for name in (cards.WEIGHTS, cards.ONNX)},
    }
    cards.write(folder, cards.replace(card, **changes))


def _model(
    pipeline: Pipeline, spec: Spec, samples: NDArray[Any], variant: Variant, classes: int
) -> onnx.ModelProto:
    sample = torch.from_numpy(np.zeros((variant.batch or 2, *samples.shape[1:]), samples.dtype))
    with _quiet():
        program = torch.onnx.export(
            pipeline,
            (sample,),
            dynamo=True,
            input_names=[spec.tensor.name if variant.preprocess == "graph" else "input"],
            output_names=[output.name for output in outputs(pipeline.task, classes)],
            dynamic_shapes=None if variant.batch else ({0: torch.export.Dim.DYNAMIC},),
            opset_version=variant.opset or OPSET,
            external_data=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    model.ir_version = max(
        IR_VERSION, onnx.helper.find_min_ir_version_for(list(model.opset_import))
    )
    del model.graph.metadata_props[:]
    for node in model.graph.node:  # stack traces, with the paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        if variant.batch is None:
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
    return model


def _bytes(model: onnx.ModelProto, meta: Mapping[str, Any]) -> bytes:
    model.producer_name, model.producer_version = "torch-tutorial-zoo", __version__
    del model.graph.value_info[:]
    onnx.helper.set_model_props(
        model,
        {key: msgspec.json.encode(value).decode() for key, value in meta.items()},
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def compare(graph: bytes, pipeline: Pipeline, samples: NDArray[Any]) -> Parity:
    """Compare an ONNX file with its pipeline, sample by sample and at several batch sizes.

    Raises:
        VerificationError: they do not agree.
    """
    run, expected = _runs(graph), run_torch(pipeline, samples)
    parity = _parity(expected, run(samples, _PART))
    _batches(run, samples, expected, _agree(expected, parity))
    return parity


def _runs(graph: bytes) -> Run:
    """Open an ONNX file; return what runs it over rows, so many at a time."""
    from zoo.runtime.session import cpu_session

    try:
        session = cpu_session(graph)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise VerificationError(f"ONNX Runtime does not load the ONNX graph: {reason}") from None
    name = session.get_inputs()[0].name

    def run(rows: NDArray[Any], size: int) -> NDArray[np.float32]:
        whole = filled(rows, size)
        parts = (whole[at : at + size] for at in range(0, len(whole), size))
        found: NDArray[np.float32] = np.concatenate(
            [session.run(None, {name: part})[0] for part in parts]
        )
        return found[: len(rows)]

    return run


def _parity(expected: NDArray[Any], found: NDArray[Any]) -> Parity:
    same = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    return Parity(float(np.abs(expected - found).max()), same, len(found))


def _agree(expected: NDArray[Any], parity: Parity) -> float:
    """Hold a file to torch; return the difference that was allowed."""
    # A regression's unit is its target's: its tolerance is relative to the outputs.
    limit = ATOL * max(1.0, float(np.abs(expected).max())) if expected.shape[1] == 1 else ATOL
    if not parity.max_abs_difference <= limit or parity.same_top1 != parity.samples:
        raise VerificationError(
            f"the ONNX graph disagrees with torch: largest difference "
            f"{parity.max_abs_difference:.2e} (allowed {limit:.0e}), same top-1 on "
            f"{parity.same_top1} of {parity.samples} samples; nothing was written"
        )
    return limit


def _hold(card: Card, measured: Measured, largest: float) -> float:
    """Hold fp16 and int8 to fp32: 0.1 points of accuracy (or R2), 1 % of a table model's outputs.

    Returns the difference that two batch sizes may have: 1 % of the largest output.
    """
    test, fp32 = measured.test[card.metric], measured.fp32[card.metric]
    far = isinstance(card.spec, TableSpec) and measured.max_abs_difference > LOOSE * largest
    if far or not fp32 - test <= LOST + 1e-9:
        raise VerificationError(
            f"not good enough on the {measured.samples:,} test rows: {card.metric} {test:.4f}, in "
            f"fp32 {fp32:.4f} (allowed {LOST} less), largest difference "
            f"{measured.max_abs_difference:.2e}; nothing was written"
        )
    return LOOSE * largest


def _batches(run: Run, samples: NDArray[Any], expected: NDArray[Any], limit: float) -> None:
    for size in BATCHES:
        rows, want = filled(samples[:size], size), filled(expected[:size], size)
        if not np.abs(run(rows, size) - want).max() <= limit:
            raise VerificationError(f"the ONNX graph gives something else at batch size {size}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own chatter off stdout and stderr; its errors still raise."""
    level, nowhere = logging.getLogger("torch.onnx").level, logging.NullHandler()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    logging.getLogger().addHandler(nowhere)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
        logging.getLogger().removeHandler(nowhere)
