"""What `zoo serve` was started with; sent to each worker process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zoo.errors import UsageError

#: The smallest and largest value of each number.
_RANGES: dict[str, tuple[float, float]] = {
    "threads": (0, 1024),
    "max_batch": (1, 1_000_000),
    "max_queue": (1, 1_000_000),
    "timeout": (0.01, 86_400),
    "max_body": (1, 2**31 - 1),  # gRPC's lengths
    "drain": (0, 3_600),
}


@dataclass(frozen=True)
class Options:
    """The server's settings.

    Attributes:
        models: names of shipped models or paths of bundles, each as `serve.models.bundles` takes.
        engine: of the sessions; see `zoo.Session`, as for device, graphs and fp16.
        threads: of one run on the CPU.
        max_batch: rows in a batch.
        max_queue: requests that may wait for a model; one more is refused with 503.
        timeout: seconds until a request is given up with 503.
        max_body: bytes of a body, also after decompression; a larger one is refused with 413.
        max_pixels: of a picture; a larger one is refused with 413.
        decode_memory: bytes that all pictures in work may take; one that needs more alone is
            refused with 413.
        keep_alive: seconds that a connection may be idle between two requests.
        log: the access log's format, or "off".
        log_format: of the server's other lines on stderr, too.
        drain: seconds after SIGTERM in which the server is not ready and still takes requests.
        hosts: names that a Host header may have, "*.example.com" for those below, "*" for any.
        origins: of pages on other sites that may send requests, "*" for any.
        keys: API keys; with any, a request needs one.
        certfile, keyfile: the certificate chain and private key (PEM) for TLS; "" for none.
        root_path: the prefix that a proxy takes off addresses; "" or "/name".
        model_control: "explicit": clients may load and unload the models; "none": they may not.
        grpc: the address ("host:port") for gRPC, from `serve.server.grpc_address`; "" for none.

    Raises:
        UsageError: a number out of its range.
    """

    models: tuple[str, ...]
    engine: str = "auto"
    device: str = "auto"
    graphs: bool = False
    fp16: bool = False
    threads: int = 1
    max_batch: int = 64
    max_queue: int = 512
    timeout: float = 10.0
    max_body: int = 16_000_000
    max_pixels: int = 64_000_000
    decode_memory: int = 256_000_000
    keep_alive: float = 75.0
    log: Literal["text", "json", "off"] = "text"
    model_control: Literal["none", "explicit"] = "none"
    grpc: str = ""
    log_format: Literal["text", "json"] = "text"
    drain: float = 0.0
    hosts: tuple[str, ...] = ("*",)
    origins: tuple[str, ...] = ()
    keys: tuple[str, ...] = field(default=(), repr=False)
    certfile: str = ""
    keyfile: str = ""
    root_path: str = ""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:  # not a number, either
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option}: expected {low:,} to {high:,}, given {value}")
