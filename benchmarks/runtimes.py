"""The exported ONNX files in other runtimes, each in an environment of its own.

    python benchmarks/runtimes.py            # writes benchmarks/results/runtimes.json
    python benchmarks/runtimes.py --only tract --folder .runtimes

Of every shipped model five files are exported, run on three rows of the test set (one, where the
batch is fixed), and the first output is compared with that of ONNX Runtime for the same file. An
environment is made by uv, or by npm, where its folder is missing, so the first run needs the
package index.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import measure
import numpy as np

from zoo import hardware
from zoo.bundle.folder import Bundle, shipped
from zoo.errors import ZooError
from zoo.export import parity
from zoo.export.bundle import build
from zoo.export.variant import Variant
from zoo.runtime.providers import cpu_session

HERE = Path(__file__).parent
UV = HERE.parent / ".uv" / "bin" / "uv"
FORMS = {
    "fp32": Variant(),
    "fp32, opset 17": Variant(opset=17),
    "without preprocessing, one row": Variant(preprocess="none", batch=1, opset=17),
    "fp16": Variant("fp16"),
    "int8": Variant("int8"),
}
FLOAT = tuple(FORMS)[:3]
BARE = FLOAT[2:]


class Runtime(NamedTuple):
    """A runtime: its name and version, a function of peers/run_file.py, packages, files to try.

    A function "npm" is peers/run_file.mjs, with the package.
    """

    name: str
    function: str
    packages: str
    forms: tuple[str, ...] = tuple(FORMS)


RUNTIMES = (
    Runtime("ONNX Runtime 1.16.3", "onnxruntime", "onnxruntime==1.16.3 numpy==1.26.4"),
    Runtime("ONNX Runtime 1.17.3", "onnxruntime", "onnxruntime==1.17.3 numpy==1.26.4"),
    Runtime("OpenVINO 2026", "openvino", "openvino numpy"),
    Runtime("onnx ReferenceEvaluator", "reference", "onnx numpy"),
    Runtime("OpenCV 4.14", "opencv", "opencv-python-headless==4.14.0.94", BARE),
    Runtime("OpenCV 5.0", "opencv", "opencv-python-headless==5.0.0.93", BARE),
    Runtime("tract 0.23.9", "tract", "tract==0.23.9 numpy", FLOAT),
    Runtime("TVM 0.27", "tvm", "apache-tvm==0.27.0.post1 onnx numpy", FLOAT),
    Runtime("onnx2torch 1.5.15", "onnx2torch", "onnx2torch==1.5.15 torch", FLOAT),
    Runtime("MNN 3.6.1", "mnn", "mnn==3.6.1 numpy", FLOAT),
    Runtime("ncnn, by pnnx", "ncnn", "ncnn pnnx numpy", BARE),
    Runtime(
        "TensorFlow Lite, by onnx2tf",
        "tflite",
        "onnx2tf==1.29.24 onnx==1.19.1 onnx-graphsurgeon==0.5.8 onnxsim==0.4.36 sng4onnx==2.0.1 "
        "tensorflow==2.19.0 tf_keras==2.19.0 ai-edge-litert==2.1.0 numpy==1.26.4 psutil",
        BARE,
    ),
    Runtime("onnxruntime-node 1.30", "npm", "onnxruntime-node@1.30.0"),
    Runtime("onnxruntime-web 1.30", "npm", "onnxruntime-web@1.30.0"),
)


def export(folder: Path) -> None:
    """Export what is not there yet: NAME-FORM.onnx, and its rows and expected output as .npz."""
    for name in shipped():
        for number, variant in enumerate(FORMS.values()):
            file = folder / f"{name}-{number}.onnx"
            if file.with_suffix(".npz").exists():
                continue
            try:
                exported = build(Bundle.open(name), variant)
            except ZooError as error:
                print(f"{name}: {variant}: {error}", file=sys.stderr)
                continue
            rows = exported.samples[: variant.batch or 3]
            file.write_bytes(exported.graph)
            expected = parity.open_graph(exported.graph)(rows, len(rows))
            np.savez(file.with_suffix(".npz"), rows=rows, expected=expected)


def command(runtime: Runtime, folder: Path, file: Path) -> tuple[list[str | Path], Path | None]:
    """Return the command that runs a file, and the folder it runs in; make what is missing."""
    place = (folder / runtime.name.replace(" ", "-").replace(",", "")).absolute()
    if runtime.function == "npm":
        if not (place / "node_modules").exists():
            place.mkdir(exist_ok=True)
            install = ["npm", "install", "--silent", "--ignore-scripts", runtime.packages]
            subprocess.run(install, cwd=place, check=True)
        package = runtime.packages.partition("@")[0]
        return ["node", HERE / "peers" / "run_file.mjs", package, file, as_json(file)], place
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([UV, "venv", "-q", place], check=True)
        install = [UV, "pip", "install", "-q", "--python", python, *runtime.packages.split()]
        subprocess.run(install, check=True)
    script = HERE / "peers" / "run_file.py"
    return [python, script, runtime.function, file, file.with_suffix(".npz")], None


def as_json(file: Path) -> Path:
    """Write the rows and the expected output of a file as JSON, for JavaScript; return its path."""
    arrays = np.load(file.with_suffix(".npz"))
    rows, expected = arrays["rows"], arrays["expected"]
    name = cpu_session(file.read_bytes()).get_inputs()[0].name
    text = json.dumps(
        {
            "input": name, "dtype": str(rows.dtype), "shape": rows.shape,
            "rows": rows.ravel().tolist(), "expected": expected.ravel().tolist(),
        }
    )  # fmt: skip
    written = file.with_suffix(".json")
    written.write_text(text, encoding="utf-8")
    return written


def try_files(runtime: Runtime, folder: Path) -> dict[str, dict[str, float | str]]:
    """Run each file; return form -> model -> largest difference, or why it does not run."""
    found: dict[str, dict[str, float | str]] = {}
    for form in runtime.forms:
        number = tuple(FORMS).index(form)
        found[form] = {}
        for name in shipped():
            file = (folder / "files" / f"{name}-{number}.onnx").absolute()
            words, place = command(runtime, folder, file)
            try:
                done = subprocess.run(
                    words, cwd=place, capture_output=True, text=True, timeout=120, check=False
                )
                last = (done.stdout.strip().splitlines() or [f"failed exit {done.returncode}"])[-1]
            except subprocess.TimeoutExpired:
                last = "failed no answer within 120 s"
            kind, _, rest = last.partition(" ")
            found[form][name] = float(rest) if kind == "difference" else rest
        runs = [value for value in found[form].values() if isinstance(value, float)]
        print(f"{runtime.name:<24}{form:<32}{len(runs)} of {len(found[form])}", flush=True)
    return found


def main() -> None:
    """Export, run, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path(".runtimes"))
    parser.add_argument("--only", default="", help="part of a runtime's name")
    parser.add_argument("--to", type=Path, default=HERE / "results" / "runtimes.json")
    options = parser.parse_args()
    (options.folder / "files").mkdir(parents=True, exist_ok=True)
    export(options.folder / "files")
    results: dict[str, Any] = {
        runtime.name: try_files(runtime, options.folder)
        for runtime in RUNTIMES
        if options.only.lower() in runtime.name.lower()
    }
    if options.only and options.to.exists():  # the others as they were
        results = json.loads(options.to.read_text(encoding="utf-8"))["runtimes"] | results
    versions = hardware.versions("onnx", "onnxruntime-gpu", "onnxruntime", "openvino")
    how = "python benchmarks/runtimes.py"
    measure.write(options.to, {"command": how, "versions": versions, "runtimes": results})


if __name__ == "__main__":
    main()
