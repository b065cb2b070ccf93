"""Everything that a GPU is for, measured by one command; each part in its own try.

    python benchmarks/gpu.py [--quick] [--device cuda] [--only PART ...]

Writes results/gpu.json and prints one table; a part that fails leaves its error there, and the
others their figures. It is meant to end within 8 minutes on a modern card. `--device cpu` runs the
same code paths without a GPU: its figures show only that they run, and go where `--out` says.

The parts: doctor; tests (those marked `gpu`); parity (all models, fp32 and fp16, top-1 over the
test set); inference (images/s and latency by batch size: ONNX Runtime with the zoo's buffers,
plain, and with CUDA graphs, TensorRT, eager torch and torch.compile on the same card, with host
copies and without); bounds (PCIe and memory, and the share of them that inference reaches); serve
(`zoo serve` under load); training (seconds until 99 % on the test set).
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import numpy as np
import onnxruntime as ort
import setuptools  # torch.compile needs it, and it has to come before anything imports distutils

import zoo
from zoo import datasets, doctor, hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle, shipped
from zoo.datasets import mnist
from zoo.errors import ZooError
from zoo.runtime.providers import PROVIDERS, session_options

assert setuptools
#: By this short recipe, chosen on the validation split, `cnn` reaches 99 % on the test set.
TO_99 = ("--set", "teacher=", "--epochs", "3")


@dataclass(frozen=True)
class Settings:
    """What all parts need to know."""

    device: str
    quick: bool

    @property
    def seconds(self) -> float:
        """The length of one measurement."""
        return 0.1 if self.quick else 0.5

    @property
    def models(self) -> list[str]:
        """The models to measure: the image models, or one of them."""
        return ["cnn"] if self.quick else ["softmax", "cnn", "googlenet", "resnet", "rnn"]

    @property
    def batches(self) -> tuple[int, ...]:
        """The batch sizes to measure."""
        return (1, 256) if self.quick else (1, 64, 1024, 8192)


def doctors_findings(settings: Settings) -> Any:
    """What `zoo doctor` says, and the card with its driver."""
    findings = [finding._asdict() for finding in doctor.examine()]
    card: dict[str, Any] = {}
    if settings.device == "cuda":
        query = "name,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current"
        words = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
        values = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        names = [name.strip() for name in query.split(",")]
        card = dict(zip(names, (v.strip() for v in values.split(",")), strict=False))
    return {"findings": findings, "card": card}


def tests(settings: Settings) -> Any:
    """The tests marked `gpu`: on the CPU they are collected and skip with a reason."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(words, cwd=measure.ROOT, check=False, capture_output=True, text=True)
    summary = done.stdout.strip().splitlines()[-1]
    if done.returncode and settings.device == "cuda":
        raise RuntimeError(f"{summary}\n{done.stdout[-3000:]}")
    return {"summary": summary, "exit_code": done.returncode}


def parity(settings: Settings) -> Any:
    """Each model on the device beside the CPU, over its whole test set."""
    found: dict[str, Any] = {}
    names = settings.models if settings.quick else shipped()
    for name in names:
        card = zoo.card(name)
        inputs = datasets.load(card.dataset.name).test.inputs
        inputs = inputs[:500] if settings.quick else inputs
        expected = zoo.Session(name, device="cpu").run(inputs)[0]
        found[name] = {
            "fp32": compared(zoo.Session(name, device=settings.device), inputs, expected)
        }
        if card.metric != "accuracy" or name == "logistic":
            continue
        with tempfile.TemporaryDirectory() as folder:
            half = Path(folder) / "half"
            zoo_command("export", name, "--precision", "fp16", "-o", f"{half}/")
            session = zoo.Session(half, device=settings.device)
            found[name]["fp16"] = compared(session, inputs, expected)
    return found


def compared(session: zoo.Session, inputs: Any, expected: Any) -> dict[str, Any]:
    """Return how a session's outputs differ from the expected ones."""
    outputs = session.run(inputs)[0]
    return {
        "device": session.device,
        "rows": len(inputs),
        "same_top1": int((outputs.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        "largest_difference": float(np.abs(outputs - expected).max()),
    }


def inference(settings: Settings) -> Any:
    """Images/s and latency by batch size, for each way to run a model."""
    found: dict[str, Any] = {}
    for name in settings.models:
        found[name] = {}
        for way, opened in ways(name, settings):
            try:
                run = opened()
                found[name][way] = {
                    str(batch): timed(run, pictures(batch), settings) for batch in settings.batches
                }
            except Exception as error:  # one way that fails leaves the others their figures
                found[name][way] = {"error": f"{type(error).__name__}: {error}"[:300]}
    return found


def ways(name: str, settings: Settings) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield each way to run a model by its name; the function opens it."""
    device = settings.device
    yield "zoo.Session", lambda: zoo.Session(name, device=device).run
    yield "ONNX Runtime, plain", lambda: plain(name, device)
    if device == "cuda":
        yield "zoo.Session, CUDA graphs", lambda: zoo.Session(name, device=device, graphs=True).run
        yield "zoo.Session, TensorRT", lambda: zoo.Session(name, device="tensorrt").run
    yield "torch, eager", lambda: in_torch(name, device, copies=True)
    yield "torch, eager, no host copies", lambda: in_torch(name, device, copies=False)
    yield "torch.compile", lambda: in_torch(name, device, copies=True, compiled=True)
    yield "torch.compile, no host copies", lambda: in_torch(name, device, False, compiled=True)


def plain(name: str, device: str) -> Callable[[Any], Any]:
    """Open ONNX Runtime as one does without buffers of one's own."""
    if device == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls(directory="")
    graph = Bundle.open(name).read(ONNX)
    session = ort.InferenceSession(graph, session_options(0), providers=[PROVIDERS[device]])
    if session.get_providers()[0] != PROVIDERS[device]:
        raise RuntimeError(f"{PROVIDERS[device]} did not start")
    return lambda inputs: session.run(None, {"images": inputs})


def in_torch(name: str, device: str, copies: bool, compiled: bool = False) -> Callable[[Any], Any]:
    """Return the network with its preprocessing in torch, uint8 images in, logits out."""
    import torch

    from zoo.network.pipeline import Normalize, channels_first

    network = zoo.load(name).to(device)
    normalize = Normalize(zoo.card(name).spec).to(device)
    module = torch.compile(network) if compiled else network
    kept: dict[int, Any] = {}

    def run(inputs: Any) -> Any:
        with torch.inference_mode():
            if copies:
                x = torch.from_numpy(inputs).to(device)
            else:  # the images are on the device already, and the answers stay there
                x = kept.setdefault(len(inputs), torch.from_numpy(inputs).to(device))
            y = module(normalize(channels_first(x)))
            if copies:
                return y.cpu()
            if device == "cuda":
                torch.cuda.synchronize()
            return y

    return run


def pictures(batch: int) -> Any:
    """Return test images, uint8 [batch, 28, 28, 1]."""
    images = mnist.load_test().inputs
    return np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:])))


def timed(run: Callable[[Any], Any], inputs: Any, settings: Settings) -> dict[str, float]:
    """Return images/s and the median and 99th percentile of a run's milliseconds."""
    for _ in range(3):
        run(inputs)
    times: list[float] = []
    end = time.perf_counter() + settings.seconds
    while len(times) < 5 or time.perf_counter() < end:
        began = time.perf_counter()
        run(inputs)
        times.append(time.perf_counter() - began)
    median = statistics.median(times)
    return {
        "images_per_second": round(len(inputs) / median),
        "p50_ms": round(1000 * median, 4),
        "p99_ms": round(1000 * sorted(times)[int(0.99 * (len(times) - 1))], 4),
    }


def bounds(settings: Settings) -> Any:
    """Measured copy rates, and the share of the host-to-device rate that `cnn` reaches."""
    import torch

    size = (16 if settings.quick else 256) * 2**20
    host = torch.zeros(size, dtype=torch.uint8, pin_memory=settings.device == "cuda")
    device = torch.empty_like(host, device=settings.device)
    other = torch.empty_like(device)

    def wait() -> None:
        if settings.device == "cuda":
            torch.cuda.synchronize()

    def rate(copy: Callable[[], Any]) -> float:
        def run(_: Any) -> None:
            copy()
            wait()

        return size / timed(run, host, settings)["p50_ms"] / 1e6  # GB/s

    up = rate(lambda: device.copy_(host, non_blocking=True))
    down = rate(lambda: host.copy_(device, non_blocking=True))
    inside = 2 * rate(lambda: other.copy_(device))  # each byte is read and written
    session = zoo.Session("cnn", device=settings.device)
    images = pictures(settings.batches[-1])
    speed = timed(session.run, images, settings)["images_per_second"]
    used = speed * images[0].nbytes / 1e9
    return {
        "host_to_device_gb_per_second": round(up, 2),
        "device_to_host_gb_per_second": round(down, 2),
        "device_memory_gb_per_second": round(inside, 1),
        "cnn_images_per_second": speed,
        "cnn_share_of_host_to_device": round(used / up, 3),
    }


def serve(settings: Settings) -> Any:
    """`zoo serve` on the device, binary V2 requests of one image over 1, 16 and 64 connections."""
    words = [*command(), "serve", "cnn", "--port", "0", "--no-access-log"]
    words += ["--device", settings.device]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip().rstrip("/").removeprefix("http://")
            if not address:
                _, reason = server.communicate(timeout=30)
                raise RuntimeError(reason.strip())
            connections = (1, 16) if settings.quick else (1, 16, 64)
            return {str(n): load(address, n, 10 * settings.seconds) for n in connections}
        finally:
            server.terminate()
            server.wait(timeout=60)


def load(address: str, connections: int, seconds: float) -> dict[str, float]:
    """Send requests over some connections; return their rate and latency.

    Python's client is slower than the server on a GPU: with several connections this is a lower
    bound, and `benchmarks/serving.py` with wrk measures more.
    """
    image = mnist.load_test().inputs[:1].tobytes()
    head = (
        b'{"inputs":[{"name":"images","shape":[1,28,28,1],"datatype":"UINT8",'
        b'"parameters":{"binary_data_size":784}}],"parameters":{"binary_data_output":true}}'
    )
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    times: list[float] = []
    failures: list[int] = []
    end = time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection(address, timeout=30)
        with contextlib.closing(connection):
            while time.perf_counter() < end:
                began = time.perf_counter()
                connection.request("POST", "/v2/models/cnn/infer", head + image, headers)
                answer = connection.getresponse()
                answer.read()
                times.append(time.perf_counter() - began)
                if answer.status != 200:
                    failures.append(answer.status)

    threads = [threading.Thread(target=client) for _ in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    if failures:
        raise RuntimeError(f"{len(failures)} of {len(times)} requests failed: {failures[:3]}")
    return {
        "requests_per_second": round(len(times) / elapsed),
        "p50_ms": round(1000 * statistics.median(times), 3),
        "p99_ms": round(1000 * sorted(times)[int(0.99 * (len(times) - 1))], 3),
    }


def training(settings: Settings) -> Any:
    """Train `cnn` until 99 % on the test set, by a recipe chosen on the validation split."""
    changes = ["--epochs", "1", "--set", "teacher="] if settings.quick else list(TO_99)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        began = time.perf_counter()
        zoo_command("train", "cnn", "--device", settings.device, "--out", str(run), *changes)
        whole = time.perf_counter() - began
        card = Bundle.open(run).card
    return {
        "recipe": " ".join(changes),
        "accuracy": card.test["accuracy"],
        "seconds": round(card.training.seconds, 2),
        "process_seconds": round(whole, 2),
    }


def command() -> list[str]:
    """Return the words that start the zoo."""
    return [str(Path(sys.executable).with_name("zoo"))]


def zoo_command(*words: str) -> None:
    """Run the zoo; raise with what it says if it fails."""
    done = subprocess.run([*command(), *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-1000:])


PARTS: dict[str, Callable[[Settings], Any]] = {
    "doctor": doctors_findings,
    "tests": tests,
    "parity": parity,
    "inference": inference,
    "bounds": bounds,
    "serve": serve,
    "training": training,
}


def main() -> int:
    """Run the parts, print the table, write the result; 1 if a part failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one model, short measurements")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, help="JSON file  [results/gpu.json for cuda]")
    args = parser.parse_args()
    settings = Settings(args.device, args.quick)
    result: dict[str, Any] = {
        "command": f"python benchmarks/gpu.py {' '.join(sys.argv[1:])}".strip(),
        "device": args.device,
        "processor": hardware.processor(),
        "versions": hardware.versions("torch", "onnxruntime-gpu", "onnxruntime", "numpy"),
        "wrk": shutil.which("wrk") is not None,
        "cores": os.cpu_count(),
    }
    failed = []
    for name in args.only:
        began = time.perf_counter()
        try:
            result[name] = PARTS[name](settings)
        except (Exception, ZooError) as error:
            failed.append(name)
            result[name] = {"error": str(error), "traceback": traceback.format_exc()[-2000:]}
        result[f"{name}_seconds"] = round(time.perf_counter() - began, 1)
        print(f"{name}: {'failed' if name in failed else 'done'} in {result[f'{name}_seconds']} s")
        keep(result, args)  # after each part: an end in the middle loses nothing
    print("\n".join(table(result)))
    return 1 if failed else 0


def keep(result: dict[str, Any], args: argparse.Namespace) -> None:
    """Write what is measured so far; figures of a CPU go where --out says, or nowhere."""
    import msgspec

    path = args.out or (measure.HERE / "results" / "gpu.json" if args.device == "cuda" else None)
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def table(result: dict[str, Any]) -> list[str]:
    """Return the figures as one table, a line each."""
    lines = ["| what | where | figure |", "|---|---|--:|"]
    for name, kinds in result.get("parity", {}).items():
        for kind, each in kinds.items() if isinstance(kinds, dict) else ():
            lines.append(
                f"| top-1 as on the CPU | {name}, {kind} | {each['same_top1']} of {each['rows']} |"
            )
    for name, opened in result.get("inference", {}).items():
        for way, by_batch in opened.items() if isinstance(opened, dict) else ():
            for batch, figures in by_batch.items():
                value = (
                    f"{figures['images_per_second']:,} images/s, p50 {figures['p50_ms']} ms"
                    if isinstance(figures, dict)
                    else " ".join(str(figures).split())
                )
                lines.append(f"| {way} | {name}, batch {batch} | {value} |")
    for connections, figures in result.get("serve", {}).items():
        if isinstance(figures, dict):
            value = f"{figures['requests_per_second']:,} requests/s, p99 {figures['p99_ms']} ms"
            lines.append(f"| zoo serve | {connections} connections | {value} |")
    for part in ("bounds", "training"):
        lines += [f"| {part} | {key} | {value} |" for key, value in result.get(part, {}).items()]
    return lines


if __name__ == "__main__":
    sys.exit(main())
