"""What `zoo serve` was asked for; travels whole to each worker process."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from zoo.bundle.folder import Bundle
from zoo.errors import UsageError


@dataclass(frozen=True)
class Options:
    """The server's settings.

    Attributes:
        models: names of shipped models or paths of bundles, each as `bundles` takes it.
        device: of the sessions; see `zoo.Session`, as for graphs and fp16.
        threads: of one run on the CPU.
        max_batch: rows in a batch.
        max_queue: requests a model may keep waiting; beyond it 503.
        timeout: seconds until a request is given up with 503.
        max_body: bytes of a body, also after it is unpacked; beyond it 413.
        log: the access log's form, or "off".
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
    grpc: str = ""


def bundles(models: Iterable[str]) -> dict[str, Bundle]:
    """Open the bundles, by the names they are served under; each card has that name.

    Args:
        models: names or paths; the name is the card's, or another one that stands before it:
            "fashion=runs/resnet-2".

    Raises:
        UsageError: no such bundle, or two with one name. VerificationError: its card is damaged.
    """
    opened: dict[str, Bundle] = {}
    for given in models:
        name, equals, rest = given.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]+", name) or Path(given).exists():
            name, rest = "", given
        bundle = Bundle.open(rest)
        name = name or bundle.card.name
        if name in opened:
            raise UsageError(
                f"{opened[name].path} and {bundle.path} are both named {name!r}: put another name "
                f"before one, as in other={rest}"
            )
        opened[name] = Bundle(bundle.path, msgspec.structs.replace(bundle.card, name=name))
    return opened
