"""The ONNX graph of a pipeline: one file, byte-reproducible, without paths of this machine.

`nn.RNN` comes out unrolled into 28 steps. ONNX's own RNN operator was compared (ONNX Runtime 1.31,
2 cores): 1.5 times faster at batch 1, but 8 times slower at batch 256.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.bundle.card import Parity
from zoo.errors import VerificationError
from zoo.export.parity import compare
from zoo.export.simplify import simplify
from zoo.export.variant import OPSET, Variant
from zoo.network.pipeline import Pipeline, own_error
from zoo.spec import ImageSpec, Spec, Task, outputs
from zoo.version import __version__


def export(
    pipeline: Pipeline,
    spec: Spec,
    meta: Mapping[str, Any],
    samples: NDArray[Any],
    expected: NDArray[np.float32],
) -> tuple[bytes, Parity]:
    """Export a pipeline and compare the result with torch on real data.

    Args:
        pipeline: in eval mode, on the CPU.
        spec: its input.
        meta: `contract(...)`, written into the file's metadata.
        samples: raw inputs for the comparison: the whole test set.
        expected: the pipeline's first output for them.

    Returns:
        The bytes of the ONNX file, and the measured parity.

    Raises:
        VerificationError: a difference above what `zoo.export.parity` allows, another top-1, or
            batch sizes that disagree.
    """
    graph = to_bytes(to_model(pipeline, spec, Variant(), len(meta["labels"])), meta)
    return graph, compare(graph, expected, samples, own_error(pipeline, samples, expected))


def contract(name: str, task: Task, labels: Sequence[str], weights_sha256: str) -> dict[str, Any]:
    """Return the file's metadata: text is written as it is, any other value as JSON."""
    return {
        "name": name,
        "task": task,
        "labels": list(labels),
        "weights_sha256": weights_sha256,
        "zoo_version": __version__,
    }


def to_model(pipeline: Pipeline, spec: Spec, variant: Variant, classes: int) -> onnx.ModelProto:
    """Convert a pipeline with torch's exporter.

    Args:
        pipeline: in eval mode, on the CPU.
        spec: its input.
        variant: opset, batch and preprocessing of the file.
        classes: their number; 0 in a regression.
    """
    raw = variant.preprocess == "graph"
    row, dtype = spec.tensor.row, spec.tensor.dtype if raw else "float32"
    if not raw and isinstance(spec, ImageSpec):
        row = (spec.channels, spec.size, spec.size)
    sample = torch.zeros(variant.batch or 2, *row, dtype=getattr(torch, dtype))
    return convert(
        pipeline,
        (sample,),
        [spec.tensor.name if raw else "input"],
        [output.name for output in outputs(pipeline.task, classes)],
        opset=variant.opset or OPSET,
        dynamic=variant.batch is None,
    )


def convert(
    network: nn.Module,
    samples: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    opset: int,
    dynamic: bool,
) -> onnx.ModelProto:
    """Convert a network with torch's exporter, and remove what other runtimes stumble over.

    Args:
        network: in eval mode, on the CPU.
        samples: its inputs, each with the batch first; at least two rows where that is dynamic.
        inputs: their names in the file.
        outputs: the names of what it returns.
        opset: of the file; the IR version is the lowest that has it, for old runtimes.
        dynamic: whether the file takes any number of rows.

    Raises:
        VerificationError: the network needs another opset; the converter only logs that.
    """
    with quiet():
        program = torch.onnx.export(
            network,
            samples,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in samples)
            if dynamic
            else None,
            opset_version=opset,
            external_data=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    (found,) = (one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if found != opset:
        raise VerificationError(f"torch cannot write the network in opset {opset}, only in {found}")
    # The metadata holds stack traces, with paths of this machine. onnx_ir's
    # ClearMetadataAndDocStringPass leaves that of inputs, outputs and initializers.
    graph = model.graph
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
    for node in graph.node:
        node.doc_string = ""
    simplify(graph)
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    return model


def to_bytes(model: onnx.ModelProto, meta: Mapping[str, Any]) -> bytes:
    """Check a model and serialize it with its metadata, deterministically."""
    # OpenCV 4 counts the padding in an AveragePool only in files of this producer. The zoo's own
    # name and version are in the metadata.
    model.producer_name, model.producer_version = "pytorch", torch.__version__.partition("+")[0]
    del model.graph.value_info[:]
    onnx.helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for key, value in meta.items()
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporter's messages on stdout and stderr; its errors are still raised."""
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
