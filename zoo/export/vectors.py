"""Test vectors in the layout of the ONNX model zoo, to check any other runtime with.

DIR/model.onnx
DIR/test_data_set_0/input_0.pb, output_0.pb, output_1.pb     TensorProto, with the tensors' names

Set 0 is one real test row, set 1 three of them, set 2 all zeros, set 3 each pixel's or column's
maximum (a fixed batch is filled with the same rows). The outputs are ONNX Runtime's; they are
written only if the reference implementation in the package onnx agrees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from zoo.errors import VerificationError
from zoo.export.variant import Variant
from zoo.files import write_atomic

#: Allowed difference of the two, as a fraction of the largest output or of 1, if that is more:
#: in fp16 and int8 a value rounded the other way is off by a full step.
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-3, "int8": 2e-2}


def write_vectors(folder: Path, graph: bytes, samples: NDArray[Any], variant: Variant) -> None:
    """Write an ONNX file and its test vectors, from real inputs, into a new folder.

    Raises:
        VerificationError: the reference implementation disagrees. OSError: it cannot be written.
    """
    from zoo.runtime.providers import cpu_session

    model, session = onnx.load_from_string(graph), cpu_session(graph)
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    reference, files = ReferenceEvaluator(model), {"model.onnx": graph}
    kinds = ["input_0", "output_0", "output_1"]
    sets = samples[:1], samples[1:4], np.zeros_like(samples[:1]), samples.max(axis=0, keepdims=True)
    for number, rows in enumerate(sets):
        rows = np.resize(rows, (variant.batch or len(rows), *rows.shape[1:]))
        outputs, expected = (r.run(None, {names[0]: rows}) for r in (session, reference))
        for name, output, target in zip(names[1:], outputs, expected, strict=True):
            limit = TOLERANCES[variant.precision] * max(1.0, float(np.abs(target).max()))
            if not (difference := float(np.abs(output - target).max())) <= limit:
                raise VerificationError(
                    f"{name} of test vector {number}: ONNX Runtime and ONNX's reference differ by "
                    f"{difference:.2e} (allowed {limit:.0e}); nothing was written"
                )
        for kind, name, array in zip(kinds, names, (rows, *outputs), strict=False):
            tensor = onnx.numpy_helper.from_array(array, name)
            files[f"test_data_set_{number}/{kind}.pb"] = tensor.SerializeToString()
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / file, data)
