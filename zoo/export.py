"""Export to ONNX: one file, byte-reproducible, and never without proof that it is right.

`nn.RNN` comes out unrolled into 28 steps. ONNX's own RNN operator was compared (ONNX Runtime 1.31,
2 cores): 1.5 times faster at batch 1, 8 times slower at batch 256; unrolled it stays.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from zoo import __version__, cards
from zoo.cards import Parity
from zoo.entry import ImageSpec, Spec, Task, TensorSpec
from zoo.errors import VerificationError
from zoo.evaluate import dataset, run_torch
from zoo.files import write_atomic
from zoo.pipeline import Pipeline
from zoo.pretrained import load

#: What ONNX Runtime 1.18 and later load.
OPSET, IR_VERSION = 20, 10
ATOL = 1e-4
BATCHES = (1, 2, 3, 7, 1000)


def outputs(task: Task, classes: int) -> tuple[TensorSpec, ...]:
    """Return what a model of this task gives."""
    if task == "regression":
        return (TensorSpec("prediction", "float32", ("batch", 1)),)
    shape = ("batch", classes)
    return (
        TensorSpec("logits", "float32", shape),
        TensorSpec("probabilities", "float32", shape),
    )


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
    graph = _graph(pipeline, spec, meta)
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


def export_bundle(bundle: Path, path: Path) -> Parity:
    """Export a bundle's network once more, to a file of its own.

    Raises:
        VerificationError: as `export`, or the bundle was changed. OSError: it cannot be written.
    """
    card = cards.read(bundle)
    pipeline = Pipeline(load(bundle), card.spec, card.task).eval()
    meta = contract(card.name, card.task, card.labels, card.files[cards.WEIGHTS])
    graph, parity = export(pipeline, card.spec, meta, dataset(bundle).test.inputs)
    write_atomic(path, graph)
    return parity


def _graph(pipeline: Pipeline, spec: Spec, meta: Mapping[str, Any]) -> bytes:
    tensor = spec.tensor
    sample = torch.zeros(
        (2, *(int(size) for size in tensor.shape[1:])),
        dtype=torch.uint8 if isinstance(spec, ImageSpec) else torch.float32,
    )
    named = [output.name for output in outputs(pipeline.task, len(meta["labels"]))]
    with _quiet():
        program = torch.onnx.export(
            pipeline,
            (sample,),
            dynamo=True,
            input_names=[tensor.name],
            output_names=named,
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            opset_version=OPSET,
            external_data=False,
        )
    assert program is not None
    model = program.model_proto
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "torch-tutorial-zoo", __version__
    del model.graph.metadata_props[:], model.graph.value_info[:]
    for node in model.graph.node:  # stack traces, with the paths of this machine
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
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
    from zoo.session import cpu_session

    session = cpu_session(graph)
    name = session.get_inputs()[0].name
    expected = run_torch(pipeline, samples)
    found = np.concatenate(
        [
            session.run(None, {name: part})[0]
            for part in np.array_split(samples, min(20, len(samples)))
        ]
    )
    difference = float(np.abs(expected - found).max())
    same = int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
    # A regression's unit is its target's: its tolerance is relative to the outputs.
    limit = ATOL * max(1.0, float(np.abs(expected).max())) if found.shape[1] == 1 else ATOL
    if not difference <= limit or same != len(samples):
        raise VerificationError(
            f"the ONNX graph disagrees with torch: largest difference {difference:.2e} (allowed "
            f"{limit:.0e}), same top-1 on {same} of {len(samples)} samples; nothing was written"
        )
    for batch in BATCHES:
        some = np.resize(samples, (batch, *samples.shape[1:]))
        got = session.run(None, {name: some})[0]
        want = np.resize(expected, got.shape)
        if not np.abs(got - want).max() <= limit:
            raise VerificationError(f"the ONNX graph disagrees with torch at batch size {batch}")
    return Parity(difference, same, len(samples))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's own chatter off stdout and stderr; its errors still raise."""
    level = logging.getLogger("torch.onnx").level
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.getLogger("torch.onnx").setLevel(level)
