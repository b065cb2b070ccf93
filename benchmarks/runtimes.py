"""The exported ONNX files in other runtimes, each in an environment of its own.

    python benchmarks/runtimes.py            # writes benchmarks/results/runtimes.json
    python benchmarks/runtimes.py --only tract --folder .runtimes

Of every shipped model five files are exported, run on three rows of the test set (one, where the
batch is fixed), and the first output is compared with that of ONNX Runtime for the same file. An
environment is made by uv where its folder is missing, so the first run needs the package index.
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
    """A runtime: its name and version, a function of peers/run_file.py, packages, files to try."""

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


def python(runtime: Runtime, folder: Path) -> Path:
    """Return the Python of a runtime's environment, which is made if it is missing."""
    place = folder / runtime.name.replace(" ", "-").replace(",", "")
    found = place / "bin" / "python"
    if not found.exists():
        subprocess.run([UV, "venv", "-q", place], check=True)
        install = [UV, "pip", "install", "-q", "--python", found, *runtime.packages.split()]
        subprocess.run(install, check=True)
    return found


def try_files(runtime: Runtime, folder: Path) -> dict[str, dict[str, float | str]]:
    """Run each file; return form -> model -> largest difference, or why it does not run."""
    interpreter = python(runtime, folder)
    found: dict[str, dict[str, float | str]] = {}
    for form in runtime.forms:
        number = tuple(FORMS).index(form)
        found[form] = {}
        for name in shipped():
            file = folder / "files" / f"{name}-{number}.onnx"
            words = [interpreter, HERE / "peers" / "run_file.py", runtime.function, file]
            try:
                done = subprocess.run(
                    [*words, file.with_suffix(".npz")],
                    capture_output=True, text=True, timeout=120, check=False,
                )  # fmt: skip
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
    options = parser.parse_args()
    (options.folder / "files").mkdir(parents=True, exist_ok=True)
    export(options.folder / "files")
    results: dict[str, Any] = {
        runtime.name: try_files(runtime, options.folder)
        for runtime in RUNTIMES
        if options.only.lower() in runtime.name.lower()
    }
    file = HERE / "results" / "runtimes.json"
    if options.only and file.exists():  # the others as they were
        results = json.loads(file.read_text(encoding="utf-8"))["runtimes"] | results
    versions = hardware.versions("onnx", "onnxruntime-gpu", "onnxruntime", "openvino")
    command = "python benchmarks/runtimes.py"
    measure.write("runtimes", {"command": command, "versions": versions, "runtimes": results})


if __name__ == "__main__":
    main()
