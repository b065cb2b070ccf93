"""Run one ONNX file in one runtime, and print its largest difference from known outputs.

    python run_file.py RUNTIME model.onnx rows.npz

`rows.npz` has the input, [rows, ...], and the first output of ONNX Runtime for it. In an
environment of its own for each runtime, see ../runtimes.py: it imports nothing of the project.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def onnxruntime(file, rows):
    """ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: rows})[0]


def openvino(file, rows):
    """OpenVINO on the CPU, in float32."""
    import openvino

    core = openvino.Core()
    model = core.compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return model(rows)[0]


def opencv(file, rows):
    """OpenCV's dnn module."""
    import cv2

    net = cv2.dnn.readNetFromONNX(file)
    names = net.getUnconnectedOutLayersNames()
    if rows.ndim == 4 and rows.dtype == np.uint8:
        raise ValueError("its inputs are float32, NCHW: use --preprocess none")
    net.setInput(rows)
    found = dict(zip(names, net.forward(names), strict=True))  # in an order of its own
    return found.get("logits", next(iter(found.values())))


def tvm(file, rows):
    """TVM: the Relax frontend, compiled by LLVM."""
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    model = onnx.load(file)
    name = model.graph.input[0].name
    module = from_onnx(model, {name: list(rows.shape)}, {name: str(rows.dtype)})
    built = relax.build(relax.get_pipeline("zero")(module), target="llvm")
    machine = relax.VirtualMachine(built, tvm.cpu())
    found = machine["main"](tvm.runtime.tensor(rows))
    return (found if hasattr(found, "numpy") else found[0]).numpy()


def tract(file, rows):
    """tract, from Rust."""
    import tract

    model = tract.onnx().load(file)
    kinds = {"uint8": "u8", "float32": "f32"}
    shape = ",".join(map(str, rows.shape))
    model.set_input_fact(0, f"{shape},{kinds[str(rows.dtype)]}")
    ready = model.into_model().into_runnable()
    return ready.run([rows])[0].to_numpy()


def onnx2torch(file, rows):
    """The file as a torch module."""
    import torch
    from onnx2torch import convert

    with torch.no_grad():
        found = convert(file).eval()(torch.from_numpy(rows))
    return (found if torch.is_tensor(found) else found[0]).numpy()


def reference(file, rows):
    """onnx's own evaluator, in NumPy."""
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(file)
    return evaluator.run(None, {evaluator.input_names[0]: rows})[0]


def mnn(file, rows):
    """MNN, after its converter."""
    import MNN
    import MNN.expr as expr

    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/model.mnn"
        tool = Path(sys.executable).parent / "mnnconvert"
        words = [tool, "-f", "ONNX", "--modelFile", file, "--MNNModel", out, "--bizCode", "zoo"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if not os.path.exists(out):
            raise ValueError((done.stdout + done.stderr).strip().splitlines()[-1])
        net = MNN.nn.load_module_from_file(out, [], [])
        kind = expr.uint8 if rows.dtype == np.uint8 else expr.float
        given = expr.const(rows, list(rows.shape), expr.NCHW, kind)  # as it is, tables too
        found = net.forward([given])
        first = found[0] if isinstance(found, (list, tuple)) else found
        return np.array(first.read())


def ncnn(file, rows):
    """ncnn, after pnnx; a row at a time."""
    import ncnn

    if rows.dtype == np.uint8:
        raise ValueError("its inputs are float32, a row at a time: use --preprocess none")
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "model.onnx")
        copy.write_bytes(Path(file).read_bytes())
        shape = ",".join(map(str, (1, *rows.shape[1:])))
        tool = Path(sys.executable).parent / "pnnx"
        words = [tool, copy, f"inputshape=[{shape}]"]
        subprocess.run(words, capture_output=True, cwd=folder, check=False)
        net, made = ncnn.Net(), f"{folder}/model.ncnn"
        if net.load_param(f"{made}.param") or net.load_model(f"{made}.bin"):
            raise ValueError("pnnx does not convert it")
        results = []
        for row in rows:
            with net.create_extractor() as extractor:
                extractor.input("in0", ncnn.Mat(row).clone())
                results.append(np.array(extractor.extract("out0")[1]))
    return np.stack(results)


def tflite(file, rows):
    """TensorFlow Lite (LiteRT), after onnx2tf, which takes images with the channels last."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    from ai_edge_litert.interpreter import Interpreter

    with tempfile.TemporaryDirectory() as folder:
        tool = Path(sys.executable).parent / "onnx2tf"
        words = [tool, "-i", Path(file).absolute(), "-o", folder, "-n"]
        subprocess.run(words, capture_output=True, cwd=folder, check=False)
        made = sorted(Path(folder).glob("*_float32.tflite"))
        if not made:
            raise ValueError("onnx2tf does not convert it")
        interpreter = Interpreter(str(made[0]))
        port = interpreter.get_input_details()[0]
        if list(port["shape"]) != list(rows.shape):
            rows = rows.transpose(0, 2, 3, 1)
        interpreter.allocate_tensors()
        interpreter.set_tensor(port["index"], np.ascontiguousarray(rows))
        interpreter.invoke()
        # By name: the order of outputs is not kept.
        ports = sorted(interpreter.get_output_details(), key=lambda each: each["name"])
        return interpreter.get_tensor(ports[0]["index"])


def main() -> None:
    """Run and print a number, or the first line of why not."""
    name, file, data = sys.argv[1:]
    stored = np.load(data)
    rows, expected = stored["rows"], stored["expected"]
    try:
        found = np.asarray(globals()[name](file, rows))
        if found.shape != expected.shape:
            found = found.reshape(expected.shape)
        print(f"difference {np.abs(found.astype(np.float64) - expected).max():.3g}")
    except BaseException as error:
        text = " ".join(str(error).split())
        text = text if len(text) < 160 else f"... {text[-150:]}"  # the reason comes last
        print(f"failed {type(error).__name__}: {text}")


if __name__ == "__main__":
    main()
