"""Ten data sets that the project does not ship: train, evaluate, export, serve, one after another.

    python benchmarks/own_data.py            # writes benchmarks/results/own_data.json

Tables and digits come from scikit-learn, in an environment of its own (uv, the package index);
Fashion-MNIST from Debian's dataset-fashion-mnist; the photos are drawn here: textures of three
classes in many sizes, colors and formats.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import measure
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zoo import hardware
from zoo.bundle.folder import Bundle

UV = Path(__file__).parent.parent / ".uv" / "bin" / "uv"
ZOO = [sys.executable, "-m", "zoo"]
FASHION = "/usr/share/datasets/fashion-mnist"
TABLES = """
import sys
from pathlib import Path
from sklearn import datasets
folder = Path(sys.argv[1])
for name, load in (("iris", datasets.load_iris), ("wine", datasets.load_wine),
                   ("cancer", datasets.load_breast_cancer), ("digits", datasets.load_digits),
                   ("diabetes", datasets.load_diabetes), ("linnerud", datasets.load_linnerud)):
    data = load(as_frame=True)
    frame = data.frame
    if name == "linnerud":
        frame = frame.drop(columns=["Waist", "Pulse"]).rename(columns={"Weight": "target"})
    elif name in ("iris", "wine", "cancer"):
        frame["target"] = [str(data.target_names[number]) for number in frame["target"]]
    frame.to_csv(folder / f"{name}.csv", index=False)
"""
#: Name -> what `zoo train` is given; data are named in the folder.
CASES = {
    "iris, 3 classes": ("softmax", "iris.csv", "--target", "target"),
    "wine, 3 classes": ("softmax", "wine.csv", "--target", "target"),
    "breast cancer, 2 classes": ("logistic", "cancer.csv", "--target", "target"),
    "digits as a table, 10 classes": ("softmax", "digits.csv", "--target", "target"),
    "diabetes, regression": ("linear", "diabetes.csv", "--target", "target"),
    "linnerud, regression of 20 rows": ("linear", "linnerud.csv", "--target", "target"),
    "Fashion-MNIST": ("cnn", FASHION, "--epochs", "3"),
    "photos, 64 pixels": ("cnn", "photos", "--size", "64", "--epochs", "40"),
    "photos, 128 pixels": ("resnet", "photos", "--size", "128", "--epochs", "30"),
    "photos, 224 pixels, Chinese names": ("cnn", "照片", "--size", "224", "--epochs", "30"),
}


def photo(kind: int, rng: np.random.Generator) -> Image.Image:
    """Draw a colored texture: stripes, checks or dots, of any size, color and coarseness."""
    height, width = (int(side) for side in rng.integers(60, 300, 2))
    y, x = np.mgrid[:height, :width] / rng.uniform(4, 9)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    across = -x * np.sin(angle) + y * np.cos(angle)
    pattern = (
        np.sin(along), np.sign(np.sin(along) * np.sin(across)),
        np.hypot(np.sin(along), np.sin(across)) - 0.7,
    )[kind]  # fmt: skip
    shade: NDArray[np.float64] = (pattern[..., None] > 0) * rng.uniform(60, 200, 3)
    noise = rng.normal(0, 12, (height, width, 3))
    return Image.fromarray((shade + rng.uniform(0, 55, 3) + noise).clip(0, 255).astype(np.uint8))


def draw(folder: Path, names: tuple[str, ...]) -> None:
    """Write 120 photos of each class."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(120):
            suffix = ("png", "jpg", "webp")[number % 3]
            photo(kind, rng).save(folder / name / f"{number}.{suffix}")


def served(run: str) -> bool:
    """Serve a bundle, and ask for one row over HTTP."""
    command = [*ZOO, "serve", f"own={run}", "--port", "0", "--no-access-log"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        address = server.stdout.readline().strip().rstrip("/")
        (spec,) = Bundle.open(Path(run)).card.inputs
        row = np.zeros((1, *spec.row), spec.dtype)
        datatype = {"uint8": "UINT8", "float32": "FP32"}[spec.dtype]
        tensor = {"name": spec.name, "datatype": datatype, "shape": row.shape,
                  "data": row.ravel().tolist()}  # fmt: skip
        request = urllib.request.Request(
            f"{address}/v2/models/own/infer", json.dumps({"inputs": [tensor]}).encode()
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            outputs = json.load(answer)["outputs"]
        return bool(np.isfinite(outputs[0]["data"]).all())
    finally:
        server.terminate()
        server.wait(30)


def complete(name: str, folder: Path) -> dict[str, Any]:
    """Take one data set the whole way."""
    model, data, *options = CASES[name]
    run = f"run-{tuple(CASES).index(name)}"
    command = ["train", model, "--data", data, *options, "--out", run]
    began = time.perf_counter()
    train = subprocess.run(
        [*ZOO, *command], cwd=folder, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if train.returncode:
        return {"command": "zoo " + " ".join(command), "problem": train.stderr.splitlines()[-1]}
    card = Bundle.open(folder / run).card
    export = subprocess.run(
        [*ZOO, "export", run, "-o", f"{run}.onnx"], cwd=folder, capture_output=True, check=False
    )
    return {
        "command": "zoo " + " ".join(command[:-2]),
        "test": card.score,
        "rows": card.dataset.test,
        "seconds": round(seconds, 1),
        "exported": export.returncode == 0,
        "served": served(str(folder / run)),
    }


def main() -> None:
    """Prepare the data, take each the whole way, write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [UV, "run", "-q", "--no-project", "--with", "scikit-learn", "--with", "pandas"]
        subprocess.run([*command, "python", "-c", TABLES, folder], check=True)
        draw(folder / "photos", ("stripes", "checks", "dots"))
        draw(folder / "照片", ("条纹", "方格", "圆点"))
        found = {}
        for case in CASES:
            found[case] = complete(case, folder)
            print(case, found[case], flush=True)
    measure.write(
        "own_data",
        {"command": "python benchmarks/own_data.py", "hardware": hardware.processor(),
         "versions": hardware.versions("torch", "onnxruntime-gpu", "onnxruntime"), "sets": found},
    )  # fmt: skip


if __name__ == "__main__":
    main()
