"""Hostile and honest requests at a server of its own: are the honest ones answered, in what memory?

    python benchmarks/hostile.py --seconds 600 --limit 1024

Thirty kinds of hostile requests, over and over from several clients, beside honest ones and probes
of `/v2/health/live`. Prints what the honest ones got, the 99th percentile of the probe, the peak of
resident memory, and the answers of 5xx other than 503. Ends with 1 if an honest request got neither
200 nor 503, if there was such an answer, or if the memory exceeds the limit (MiB). Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import itertools
import json
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

INFER, PREDICT = "/v2/models/cnn/infer", "/v1/predict/cnn"
ZEROS = ",".join("0" * 784)
#: Bytes, and the seconds after which the client goes; None: it waits for the answer.
Request = tuple[bytes, float | None]


def post(path: str, body: bytes, **headers: object) -> bytes:
    """Return a request; `headers` with underscores for hyphens."""
    given: dict[str, object] = {"Content-Length": len(body)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body


def picture(kind: str, mode: str, size: tuple[int, int], **options: object) -> bytes:
    """Return an encoded picture of one color."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def document(data: str, more: str = "") -> bytes:
    """Return an infer request with this JSON as data."""
    tensor = f'"name":"images","shape":[1,28,28,1],"datatype":"UINT8","data":{data}'
    return f'{{"inputs":[{{{tensor}}}]{more}}}'.encode()


def form(file: bytes, count: int) -> bytes:
    """Return a multipart request with a file many times."""
    part = b'--x\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n%s\r\n' % file
    kind = "multipart/form-data; boundary=x"
    return post(PREDICT, part * count + b"--x--\r\n", Content_Type=kind)


def hostile() -> dict[str, Request]:
    """Return the kinds."""
    noise = io.BytesIO()
    bits = np.random.default_rng(0).integers(0, 2, (1000, 1000), np.uint8)
    Image.fromarray(bits * 255).convert("1").save(noise, "PNG")
    gif = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + bytes(6)
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x02\x4c\x01\x00"
    huge = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x4c\x01\x00"
    progressive = picture("JPEG", "L", (2000, 2000), progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    get = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
    many = "[" + "[0]," * 2_000_000 + "[0]]"
    outputs = ',"outputs":[' + '{"name":"logits"},' * 10_000 + '{"name":"logits"}]'
    chunked = post(INFER, b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    pictures = {
        "RGBA of 64 megapixels": picture("PNG", "RGBA", (8000, 8000)),
        "RGB of 50 megapixels": picture("PNG", "RGB", (8660, 5774)),
        "gray and alpha": picture("PNG", "LA", (8000, 8000)),
        "16 bits": picture("PNG", "I;16", (8000, 8000)),
        "one bit": picture("PNG", "1", (8000, 8000)),
        "too many pixels": picture("PNG", "1", (9000, 9000)),
        "JPEG of 50 megapixels": picture("JPEG", "RGB", (8660, 5774)),
        "progressive JPEG": picture("JPEG", "RGB", (8660, 5774), progressive=True),
        "JPEG of endless scans": progressive[:-2] + scan * 5000 + progressive[-2:],
        "WebP": picture("WEBP", "RGB", (8000, 8000), method=0),
        "TIFF": picture("TIFF", "RGB", (8000, 8000), compression="tiff_lzw"),
        "GIF with a huge frame": gif + huge + b";",
        "GIF of many frames": gif + frame * 200_000 + b";",
        "EPS": picture("EPS", "L", (40, 40)),
        "half a PNG": noise.getvalue()[:20_000],
    }
    kinds: dict[str, Request] = {
        name: (post(PREDICT, data, Content_Type="image/png"), None)
        for name, data in pictures.items()
    }
    return kinds | {
        "form of many pictures, left": (form(noise.getvalue(), 100), 0.5),
        "form of many pictures": (form(noise.getvalue(), 100), None),
        "form of many small ones": (form(picture("PNG", "L", (28, 28)), 1000), None),
        "nested lists": (post(INFER, document(many)), None),
        "deep lists": (post(INFER, document("[" * 1_000_000)), None),
        "long numbers": (post(INFER, document("[" + "9" * 5000 + "]")), None),
        "one output many times": (post(INFER, document(f"[{ZEROS}]", outputs)), None),
        "gzip bomb": (
            post(INFER, gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), None
        ),
        "framing that lies": (
            post(INFER, b"{}", Inference_Header_Content_Length="9" * 5000), None
        ),
        "endless header": (get + b"A: " + b"a" * 5_000_000, None),
        "many headers": (get + b"A: a\r\n" * 100_000, None),
        "endless trailer": (chunked + b"0\r\nA: " + b"a" * 5_000_000, None),
        "half a head": (get, 5.0),
        "half a body": (post(INFER, b"{", Content_Length=15_000_000), 5.0),
        "not HTTP": (random.Random(0).randbytes(1000), None),
    }  # fmt: skip


def send(port: int, request: Request) -> int:
    """Send a request; return the status of its answer, 0 without one."""
    data, patience = request
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=patience or 60) as client:
            with contextlib.suppress(ConnectionError):  # refused early: the answer may be there
                client.sendall(data)
            head = client.recv(1000)
    except OSError:  # closed, or the patience is over
        return 0
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0


def peak(process: subprocess.Popen[str], name: str) -> float:
    """Return a value of a process from /proc, in MiB."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return int(status.split(name + ":")[1].split()[0]) / 1024


def attack(
    port: int, seconds: float, clients: int
) -> tuple[Counter[int], Counter[str], list[float]]:
    """Send requests of all kinds; return the honest statuses, the hostile ones, and the probes."""
    honest, answers, probes = Counter[int](), Counter[str](), list[float]()
    kinds, end = hostile(), time.monotonic() + seconds
    digit = picture("PNG", "L", (28, 28)), post(INFER, document(f"[{ZEROS}]"))
    turns = itertools.cycle(kinds.items())
    lock = threading.Lock()

    def repeat(once: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            while time.monotonic() < end:
                once()

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def enemy() -> None:
        with lock:
            name, request = next(turns)
        status = send(port, request)
        with lock:
            answers[f"{status} {name}"] += 1

    def friend() -> None:
        status = send(port, (digit[1], None))
        with lock:
            honest[status] += 1
        time.sleep(0.05)

    def probe() -> None:
        began = time.perf_counter()
        send(port, (b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n", None))
        probes.append(time.perf_counter() - began)
        time.sleep(0.05)

    threads = [repeat(enemy) for _ in range(clients)] + [repeat(friend) for _ in range(2)]
    for thread in [*threads, repeat(probe)]:
        thread.join()
    return honest, answers, probes


def main() -> int:
    """Start a server, attack it, and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--limit", type=float, default=1024, help="MiB of resident memory")
    options = parser.parse_args()
    words = [
        sys.executable,
        "-c",
        "from zoo.__main__ import main; main()",
        "serve",
        "--port",
        "0",
        "--no-access-log",
    ]
    server = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline().strip().rstrip("/").rpartition(":")[2])
    while send(port, (b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n", None)) != 200:
        time.sleep(0.1)
    honest, answers, probes = attack(port, options.seconds, options.clients)
    alive, memory, now = server.poll() is None, 0.0, 0.0
    if alive:
        memory, now = peak(server, "VmHWM"), peak(server, "VmRSS")
    server.terminate()
    began = time.monotonic()
    server.wait(60)
    failures = {name: n for name, n in answers.items() if name[0] == "5" and name[:3] != "503"}
    result = {
        "hostile": sum(answers.values()), "kinds": len({name[4:] for name in answers}),
        "honest": dict(sorted(honest.items())), "live p99 ms": round(
            1000 * float(np.percentile(probes, 99)), 1
        ), "peak MiB": round(memory), "at the end MiB": round(now), "5xx": failures,
        "alive": alive, "exit code": server.returncode,
        "seconds to end": round(time.monotonic() - began, 1),
    }  # fmt: skip
    print(json.dumps(result, indent=2))
    for name, count in sorted(answers.items(), key=lambda item: item[0][4:]):
        print(f"{count:6} {name}", file=sys.stderr)
    good = alive and set(honest) <= {200, 503} and not failures and memory <= options.limit
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
