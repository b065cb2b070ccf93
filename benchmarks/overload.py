"""Four times more requests than the server can answer, for a minute: nothing but 200 and 503.

    python benchmarks/overload.py            # writes benchmarks/results/overload.json

`zoo serve googlenet` gets 16 images a request. A first load, with few connections, shows its
capacity; then `wrk` offers four times that, paced over many connections, for 60 s. Every request is
answered 200 or 503, no connection breaks, the queue holds, and the server's memory stays flat.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import measure
import msgspec
import serving

from zoo import hardware
from zoo.datasets import mnist

MODEL, IMAGES, QUEUE = "googlenet", 16, 64
CONNECTIONS = 1024
#: What the memory of the last third of the load may have grown over the first.
FLAT = 1.05


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="four times the capacity")
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    zoo = str(Path(sys.executable).with_name("zoo"))
    command = [zoo, "serve", MODEL, "--port", "0", "--no-access-log", "--max-queue", str(QUEUE)]
    with (
        tempfile.NamedTemporaryFile(suffix=".json") as body,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            url = f"{server.stdout.readline().strip()}v2/models/{MODEL}/infer"
            body.write(request())
            body.flush()
            wrk(url, body.name, 8, 2)  # until it is ready
            capacity = wrk(url, body.name, 8, 5)
            rate = capacity["requests"] / capacity["seconds"]
            pause = 1000 * CONNECTIONS / (4 * rate)  # ms between a connection's requests
            memory: list[float] = []
            watcher = threading.Thread(target=watch, args=(server.pid, seconds, memory))
            watcher.start()
            load = wrk(url, body.name, CONNECTIONS, seconds, pause)
            watcher.join()
            after = wrk(url, body.name, 8, 5)
        finally:
            server.terminate()
            code = server.wait(30)
    third = len(memory) // 3
    growth = max(memory[-third:]) / max(memory[:third])
    answered = load["ok"] + load["overloaded"]
    result = {
        "command": f"python benchmarks/overload.py {' '.join(sys.argv[1:])}".strip(),
        "hardware": hardware.processor(),
        "versions": hardware.versions("onnxruntime-gpu", "onnxruntime", "uvicorn", "starlette"),
        "capacity_requests_per_second": round(rate, 1),
        "offered_requests_per_second": round(4 * rate, 1),
        "answered_requests_per_second": round(answered / load["seconds"], 1),
        "seconds": seconds,
        "answered_200": load["ok"],
        "answered_503": load["overloaded"],
        "answered_otherwise": load["requests"] - answered,
        "connections_broken": load["broken"],
        "p99_ms": load["p99_ms"],
        "memory_mib": measure.spread(memory, 1),
        "memory_last_third_to_first": round(growth, 3),
        "requests_per_second_afterwards": round(after["requests"] / after["seconds"], 1),
        "exit_code": code,
    }
    print(msgspec.json.format(msgspec.json.encode(result), indent=1).decode())
    measure.write("overload", result)
    bad = [name for name in ("answered_otherwise", "connections_broken", "exit_code")
           if result[name]]  # fmt: skip
    if bad or growth > FLAT:
        raise SystemExit(f"not as promised: {', '.join(bad) or f'memory grew {growth:.3f} times'}")


def request() -> bytes:
    """Return a JSON request of some digits."""
    images = mnist.load_test().inputs[:IMAGES]
    tensor: dict[str, Any] = {"name": "images", "shape": images.shape, "datatype": "UINT8"}
    return msgspec.json.encode({"inputs": [tensor | {"data": images.ravel().tolist()}]})


def wrk(url: str, body: str, connections: int, seconds: float, pause: float = 0) -> dict[str, Any]:
    """Post the body over and over, each connection with a pause (ms) between its requests."""
    for _ in range(100):
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "15s"]
        command += ["-s", str(serving.PEERS / "paced.lua"), url, "--", body, str(pause)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            found: dict[str, Any] = msgspec.json.decode(done.stdout.splitlines()[-1])
            return found
        time.sleep(0.1)
    raise SystemExit(f"wrk failed: {done.stderr}")


def watch(pid: int, seconds: float, memory: list[float]) -> None:
    """Note the server's resident memory (MiB) each second."""
    for _ in range(int(seconds)):
        status = Path(f"/proc/{pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        memory.append(int(line.split()[1]) / 1024)
        time.sleep(1)


if __name__ == "__main__":
    main()
