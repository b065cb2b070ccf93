"""HTTP load on `zoo serve` and on what people serve such models with today, side by side.

    python benchmarks/serving.py                       # writes benchmarks/results/serving.json
    python benchmarks/serving.py --peers triton --rounds 1 --seconds 3

One 28x28 image a request, `wrk` with 1, 16 and 64 connections, the same model.onnx, ONNX Runtime
on the CPU. Each side first shows which of its settings is best at each number of connections, and
then is measured with that one. Servers run one at a time, in turn.
Needs `wrk` (Debian, Ubuntu: apt-get install wrk) and, for Triton, /usr/bin/python3.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import measure
import msgspec
import numpy as np
from numpy.typing import NDArray

from zoo import hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.datasets import mnist

PEERS = Path(__file__).parent / "peers"
MODEL = Bundle.open("cnn").path / ONNX
CONNECTIONS = (1, 16, 64)
WARM_UP = 2.0
V2 = "/v2/models/cnn/infer"
HZ = os.sysconf("SC_CLK_TCK")
#: In the order of the test set, the first digit of each class; the model knows them all.
KNOWN = (3, 2, 1, 18, 4, 8, 11, 0, 61, 7)


@dataclass(frozen=True)
class Side:
    """A server: its path, its settings to choose from, its packages worth naming."""

    path: str
    settings: tuple[str, ...]
    packages: tuple[str, ...] = ()
    python: str = "3.11"
    environment: str = ""  # default: by the side's name
    formats: tuple[str, ...] = ("json",)


SIDES = {
    "zoo": Side(V2, ("--no-access-log", "--no-access-log --workers 2"), formats=("json", "binary")),
    "triton": Side(
        V2,
        (
            "--threads 1",
            "--threads 1 --http-threads 2",
            "--threads 0 --http-threads 2",
        ),
        ("nvidia-pytriton", "onnxruntime", "numpy"),
        python="/usr/bin/python3",  # its embedded libpython matches no other build
        formats=("json", "binary"),
    ),
    "pytriton": Side(
        V2,
        (
            "--threads 1",
            "--threads 1 --http-threads 2",
            "--threads 0 --http-threads 2",
        ),
        ("nvidia-pytriton", "onnxruntime", "numpy"),
        python="/usr/bin/python3",
        environment="triton",
        formats=("json", "binary"),
    ),
    "mlserver": Side(
        V2,
        ("--threads 1", "--threads 0", "--threads 1 --batch 64"),
        ("mlserver", "onnxruntime", "uvicorn", "httptools"),
    ),
    "litserve": Side(
        "/predict",
        (
            "--threads 1 --batch 64",
            "--threads 1 --batch 64 --servers 2",
            "--threads 1 --batch 64 --fast-queue",
            "--threads 0 --batch 64",
            "--threads 1",
        ),
        ("litserve", "onnxruntime", "uvicorn", "fastapi"),
    ),
    "fastapi": Side(
        "/predict",
        (
            "--threads 1",
            "--threads 1 --plain",
            "--threads 0 --plain",
            "--threads 1 --plain --workers 2",
        ),
        ("fastapi", "uvicorn", "onnxruntime", "orjson"),
    ),
}


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is missing: apt-get install wrk")
    names = args.peers.split(",")
    pythons = {
        name: measure.environment(SIDES[name].environment or name, SIDES[name].python)
        if name != "zoo"
        else None
        for name in names
    }
    best: dict[tuple[str, int], str] = {}
    tuning = {}
    for name in names:
        tuning[name] = tune(name, pythons[name], args.tune_seconds)
        for connections in CONNECTIONS:
            found = {setting: rates[connections] for setting, rates in tuning[name].items()}
            best[name, connections] = max(found, key=lambda setting: found[setting])
    runs: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for turn in range(args.rounds):
        for format in ("json", "binary"):
            for connections in args.connections:
                for name in names:
                    if format not in SIDES[name].formats:
                        continue
                    with serving(name, pythons[name], best[name, connections]) as (port, pid):
                        load(name, port, format, connections, WARM_UP)
                        found = load(name, port, format, connections, args.seconds, pid)
                    runs.setdefault((format, name, connections), []).append(found)
                    print(f"{turn + 1} {format:<7}{connections:>3}  {name:<9}", line(found))
    report(args, runs, best, tuning)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="HTTP load, side by side")
    parser.add_argument("--peers", default=",".join(SIDES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each measurement")
    parser.add_argument(
        "--tune-seconds", type=float, default=3, help="of each setting; 0: the first"
    )
    parser.add_argument("--zoo", help='settings of ours, such as "--no-access-log --workers 2"')
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    args = parser.parse_args()
    if args.zoo:
        SIDES["zoo"] = replace(SIDES["zoo"], settings=(args.zoo,))
    return args


def tune(name: str, python: Path | None, seconds: float) -> dict[str, dict[int, float]]:
    """Return the requests per second of each setting, a number of connections."""
    settings = SIDES[name].settings
    if len(settings) == 1 or not seconds:
        return {settings[0]: dict.fromkeys(CONNECTIONS, 0.0)}
    rates: dict[str, dict[int, float]] = {}
    for setting in settings:
        with serving(name, python, setting) as (port, _):
            load(name, port, "json", CONNECTIONS[-1], WARM_UP)
            rates[setting] = {}
            for connections in CONNECTIONS:
                found = load(name, port, "json", connections, seconds)
                rates[setting][connections] = found["requests_per_second"]
        print(f"tune {name:<9}", rates[setting], setting)
    return rates


@contextlib.contextmanager
def serving(name: str, python: Path | None, setting: str) -> Iterator[tuple[int, int]]:
    """Start a server, check that it knows the digits, and stop it in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if python is None:
        start = [str(Path(sys.executable).with_name("zoo")), "serve", "cnn"]
    else:
        start = [str(python), str(PEERS / f"{name}_server.py"), "--model", str(MODEL)]
    with tempfile.TemporaryFile() as log, tempfile.TemporaryDirectory() as scratch:
        process = subprocess.Popen(
            [*start, "--port", str(port), *setting.split()],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=PEERS,
            env=os.environ | {"TMPDIR": scratch},
        )
        try:
            wait(name, port, process, log)
            for digit, image in enumerate(mnist.load_test().inputs[list(KNOWN)]):
                for format in SIDES[name].formats:
                    found = answer(name, port, format, image)
                    if found != digit:
                        raise SystemExit(f"{name}, {format}: a {digit} was read as {found}")
            yield port, process.pid
        finally:
            stop(process)


def wait(name: str, port: int, process: subprocess.Popen[bytes], log: Any) -> None:
    """Wait until the server answers a request."""
    image = mnist.load_test().inputs[0]
    for _ in range(600):
        try:
            answer(name, port, "json", image)
            return
        except OSError:  # not there yet, or not ready (an HTTPError is an OSError)
            time.sleep(0.1)
        if process.poll() is not None:
            break
    log.seek(0)
    raise SystemExit(f"{name} did not start:\n{log.read().decode(errors='replace')[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Stop a server with all its processes."""
    family = tree(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for pid, started in family.items():
        if times(pid)[0] == started:  # still there, and no other process by that number
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()


def body(name: str, format: str, image: NDArray[np.uint8]) -> tuple[bytes, int]:
    """Return a request's body and the length of its JSON header (0: all is JSON)."""
    if SIDES[name].path != V2:
        return msgspec.json.encode({"data": image.ravel().tolist()}), 0
    tensor: dict[str, Any] = {"name": "images", "shape": [1, 28, 28, 1], "datatype": "UINT8"}
    output: dict[str, Any] = {"name": "probabilities"}
    if format == "json":
        tensor["data"] = image.ravel().tolist()
        return msgspec.json.encode({"inputs": [tensor], "outputs": [output]}), 0
    tensor["parameters"] = {"binary_data_size": image.size}
    output["parameters"] = {"binary_data": True}
    header = msgspec.json.encode({"inputs": [tensor], "outputs": [output]})
    return header + image.tobytes(), len(header)


def answer(name: str, port: int, format: str, image: NDArray[np.uint8]) -> int:
    """Send one image; return the most probable class."""
    content, length = body(name, format, image)
    headers = {"Content-Type": "application/json"}
    if length:
        headers = {"Content-Type": "application/octet-stream"}
        headers["Inference-Header-Content-Length"] = str(length)
    url = f"http://127.0.0.1:{port}{SIDES[name].path}"
    request = urllib.request.Request(url, content, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        found = response.read()
        length = int(response.headers.get("Inference-Header-Content-Length", 0))
    if length:
        values = np.frombuffer(found[length:], np.float32)
    else:
        document = msgspec.json.decode(found)
        if SIDES[name].path == V2:
            document = {tensor["name"]: tensor["data"] for tensor in document["outputs"]}
        values = np.array(document["probabilities"])
    if values.size != 10:
        raise SystemExit(f"{name}, {format}: not ten probabilities: {found[:300]!r}")
    return int(values.argmax())


def load(
    name: str, port: int, format: str, connections: int, seconds: float, pid: int | None = None
) -> dict[str, float]:
    """Let wrk post one image over and over."""
    content, length = body(name, format, mnist.load_test().inputs[0])
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s"]
        command += ["-s", str(PEERS / "post.lua"), f"http://127.0.0.1:{port}{SIDES[name].path}"]
        command += ["--", file.name, *([str(length)] if length else [])]
        before = cpu_seconds(pid) if pid else 0.0
        ended = subprocess.run(command, check=True, capture_output=True, text=True)
        spent = cpu_seconds(pid) - before if pid else 0.0
    found: dict[str, float] = msgspec.json.decode(ended.stdout.splitlines()[-1])
    requests, took = found.pop("requests"), found.pop("seconds")
    if not requests:
        raise SystemExit(f"{name}: no request was served\n{ended.stdout}")
    found["requests_per_second"] = round(requests / took, 1)
    found["server_cpu_s_per_1000"] = round(spent / requests * 1000, 4)
    return found


def times(pid: int) -> tuple[int, int, int]:
    """Return a process's start, its parent and its CPU ticks; zeros when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0, 0
    return int(fields[19]), int(fields[1]), int(fields[11]) + int(fields[12])


def tree(pid: int) -> dict[int, int]:
    """Return a process and all below it, with the time each started."""
    parents = {
        int(entry.name): times(int(entry.name))
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
    }
    found = [pid]
    for one in found:
        found += [child for child, (_, parent, _) in parents.items() if parent == one]
    return {one: parents[one][0] for one in found if one in parents}


def cpu_seconds(pid: int) -> float:
    """Return the user and system time so far of a process and all below it."""
    return sum(times(one)[2] for one in tree(pid)) / HZ


def line(found: dict[str, float]) -> str:
    """Return one measurement in words."""
    return (
        f"{found['requests_per_second']:>9,.0f} requests/s  p50 {found['p50_ms']:.2f} ms  "
        f"p99 {found['p99_ms']:.2f} ms  {found['server_cpu_s_per_1000']:.3f} CPU s/1000  "
        f"{found['non_2xx']} non-2xx  {found['broken']} broken"
    )


def report(
    args: argparse.Namespace,
    runs: dict[tuple[str, str, int], list[dict[str, float]]],
    best: dict[tuple[str, int], str],
    tuning: dict[str, dict[str, dict[int, float]]],
) -> None:
    """Write the result, and print ours against each peer."""
    names = args.peers.split(",")
    loads: dict[str, Any] = {}
    for (format, name, connections), found in runs.items():
        figures = {key: measure.spread([run[key] for run in found]) for key in found[0]}
        side = loads.setdefault(format, {}).setdefault(name, {})
        side[str(connections)] = {"settings": best[name, connections], **figures}
    ratios: dict[str, Any] = {}
    for format, sides in loads.items():
        for name, side in sides.items():
            for connections, figures in side.items():
                ours = sides.get("zoo", {}).get(connections)
                if name != "zoo" and ours:
                    speeds = [one["requests_per_second"]["median"] for one in (ours, figures)]
                    ratio = round(speeds[0] / speeds[1], 2)
                    ratios.setdefault(format, {}).setdefault(name, {})[connections] = ratio
                    print(f"{format} {connections:>2}: zoo / {name} = {ratio}")
    result = {
        "command": f"python benchmarks/serving.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": hardware.processor(),
        "load": f"wrk, 1 thread, {args.seconds:g} s, {args.rounds} rounds, on the same machine",
        "versions": {"zoo": hardware.versions("onnxruntime-gpu", "onnxruntime", "numpy")}
        | {
            name: {package: pins[package] for package in SIDES[name].packages}
            for name in names
            if name != "zoo"
            for pins in [measure.pins(SIDES[name].environment or name)]
        },
        "requests_per_second_ours_to_peer": ratios,
        "loads": loads,
        "requests_per_second_of_settings": {
            name: {setting: {str(k): v for k, v in found.items()} for setting, found in all.items()}
            for name, all in tuning.items()
            if len(all) > 1
        },
    }
    measure.write("serving", result)


if __name__ == "__main__":
    main()
