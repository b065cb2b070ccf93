"""Triton, from NVIDIA's wheel nvidia-pytriton, over ONNX Runtime.

python triton_server.py --port P --model model.onnx [--threads N] [--http-threads N]

The wheel has the tritonserver binary and its Python backend, which here runs `triton_model.py` from
a model repository. pytriton's own `Triton.bind` takes each batch through one process more, and
served a third as many requests.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import pytriton

CONFIG = """
name: "cnn"
backend: "python"
max_batch_size: 64
input [ {{ name: "images" data_type: TYPE_UINT8 dims: [ 28, 28, 1 ] }} ]
output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: [ 10 ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay} }}
instance_group [ {{ kind: KIND_CPU count: {instances} }} ]
parameters {{ key: "model" value: {{ string_value: "{model}" }} }}
parameters {{ key: "threads" value: {{ string_value: "{threads}" }} }}
"""


def serve(args: argparse.Namespace) -> None:
    """Write a model repository and become tritonserver."""
    package = Path(pytriton.__file__).parent
    root = Path(tempfile.mkdtemp(prefix="triton-"))
    version = root / "models" / "cnn" / "1"
    version.mkdir(parents=True)
    (version.parent / "config.pbtxt").write_text(CONFIG.format(**vars(args)))
    (version / "model.py").write_text(Path(__file__).with_name("triton_model.py").read_text())
    backend = root / "backends" / "python"
    backend.mkdir(parents=True)
    for file in (package / "tritonserver" / "backends" / "python").iterdir():
        (backend / file.name).symlink_to(file)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = package / "tritonserver" / "python_backend_stubs" / python
    (backend / "triton_python_backend_stub").symlink_to(stub / "triton_python_backend_stub")
    libraries = f"{package.parent / 'nvidia_pytriton.libs'}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    here = Path(sys.executable).parent
    env = os.environ | {"LD_LIBRARY_PATH": libraries, "PATH": f"{here}:{os.environ['PATH']}"}
    env["PYTHONPATH"] = str(package.parent)
    os.execve(
        package / "tritonserver" / "bin" / "tritonserver",
        [
            "tritonserver",
            f"--model-repository={root / 'models'}",
            f"--backend-directory={root / 'backends'}",
            "--http-address=127.0.0.1",
            f"--http-port={args.port}",
            f"--http-thread-count={args.http_threads}",
            "--allow-grpc=false",
            "--allow-metrics=false",
            "--log-info=false",
        ],
        env,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--delay", type=int, default=0)
    parser.add_argument("--instances", type=int, default=1)
    parser.add_argument("--http-threads", type=int, default=8)
    serve(parser.parse_args())
