"""What `zoo serve` was started with; sent to each worker process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Options:
    """The server's settings.

    Attributes:
        models: names of shipped models or paths of bundles, each as `serve.models.bundles` takes.
        device: of the sessions; see `zoo.Session`, as for graphs and fp16.
        threads: of one run on the CPU.
        max_batch: rows in a batch.
        max_queue: requests that may wait for a model; one more is refused with 503.
        timeout: seconds until a request is given up with 503.
        max_body: bytes of a body, also after decompression; a larger one is refused with 413.
        log: the access log's format, or "off".
        model_control: "explicit": clients may load and unload the models; "none": they may not.
        grpc: the address ("host:port") for gRPC, from `serve.server.grpc_address`; "" for none.
    """

    models: tuple[str, ...]
    device: str = "auto"
    graphs: bool = False
    fp16: bool = False
    threads: int = 1
    max_batch: int = 64
    max_queue: int = 512
    timeout: float = 10.0
    max_body: int = 16_000_000
    log: Literal["text", "json", "off"] = "text"
    model_control: Literal["none", "explicit"] = "none"
    grpc: str = ""
