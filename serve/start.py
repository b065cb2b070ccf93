"""What `zoo serve` does: check all settings, read the models, take the address, then serve."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from serve import keys, log, server
from serve.metrics import MULTIPROCESS
from serve.models import bundles
from serve.options import Options
from zoo import hardware
from zoo.errors import UsageError, ZooError

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MOST_WORKERS = 1024


class Where(NamedTuple):
    """The addresses: `uds` is a path instead of host and port; "" for none."""

    host: str
    port: int
    grpc_port: int | None
    uds: str
    workers: int
    key_file: Path | None


def number_of_workers(text: str) -> int:
    """Return the number of worker processes: "auto" is one per core that this process may use.

    Raises:
        UsageError: neither "auto" nor a number from 1 to `_MOST_WORKERS`.
    """
    if text == "auto":
        return min(hardware.cores(), _MOST_WORKERS)
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not 1 <= int(text) <= _MOST_WORKERS:
        raise UsageError(f"--workers: expected 1 to {_MOST_WORKERS:,} or auto, given {text!r}")
    return int(text)


def start(options: Options, where: Where, show: Callable[[str], object]) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: the settings; those that follow from the address are filled in here.
        where: to listen.
        show: called with each address, when connections are accepted.

    Raises:
        ZooError: something cannot be as it was asked for.
    """
    log.keep_standard_files()
    try:
        _start(options, where, show)
    except ZooError as error:
        if options.log_format == "text":
            raise
        log.setup("json")  # every line is JSON, the last one too
        logging.getLogger("zoo").critical("%s", error)
        sys.exit(error.exit_code)


def _start(options: Options, where: Where, show: Callable[[str], object]) -> None:
    _check(options, where)
    options = replace(options, keys=keys.read(where.key_file))
    held = bundles(options.models)  # a bad one is an error before the address is taken
    if where.grpc_port is not None:
        options = replace(options, grpc=server.grpc_address(where.host, where.grpc_port))
    listener = server.bind_path(where.uds) if where.uds else server.bind(where.host, where.port)
    secure = "s" if options.certfile else ""
    with listener, contextlib.ExitStack() as stack:
        if where.uds:
            addresses = [f"unix:{where.uds}"]
            stack.callback(Path(where.uds).unlink, missing_ok=True)
        else:
            address, port = listener.getsockname()[:2]
            shown = f"[{where.host}]" if ":" in where.host else where.host
            addresses = [f"http{secure}://{shown}:{port}/"]
            if not options.hosts:
                local = ipaddress.ip_address(address.partition("%")[0]).is_loopback
                options = replace(options, hosts=(*_LOOPBACK, where.host) if local else ("*",))
        options = options if options.hosts else replace(options, hosts=("*",))
        addresses += [f"grpc{secure}://{options.grpc}"] if options.grpc else []
        if folder := os.environ.get(MULTIPROCESS):
            os.makedirs(folder, exist_ok=True)

        def announce() -> None:
            for address in addresses:
                show(address)

        if where.workers == 1:
            server.serve(options, listener, announce, held)
        else:
            from serve import workers

            workers.serve(options, listener, where.workers, announce, held)


def _check(options: Options, where: Where) -> None:
    """Check what can be checked before anything starts.

    Raises:
        UsageError: a setting that cannot work.
    """
    if not where.host.strip():
        raise UsageError("--host: expected an address of this machine, as in 0.0.0.0, given ''")
    if where.grpc_port and where.grpc_port == where.port and not where.uds:
        raise UsageError(f"--port and --grpc-port are both {where.port}: expected two ports")
    if options.model_control == "explicit" and where.workers > 1:
        raise UsageError(
            f"--model-control explicit needs --workers 1, given {where.workers}: a client's load "
            "would reach one of them"
        )
    if where.uds and not hasattr(socket, "AF_UNIX"):
        raise UsageError("--uds: this system has no Unix sockets")
    if not re.fullmatch(r"(/[\w.~-]*[\w~-])*", options.root_path, re.ASCII):
        raise UsageError(f"--root-path: expected a path as in /zoo, given {options.root_path!r}")
    for host in options.hosts:
        if not re.fullmatch(r"\*|(\*\.)?[\w.:-]+", host):
            raise UsageError(f"--allowed-hosts: expected names as in zoo.example, given {host!r}")
    for origin in options.origins:
        if not re.fullmatch(r"\*|https?://[\w.:\[\]-]+", origin):
            raise UsageError(
                f"--cors-origin: expected an origin as in https://zoo.example, given {origin!r}"
            )
    if bool(options.certfile) != bool(options.keyfile):
        raise UsageError("--ssl-certfile and --ssl-keyfile: expected both or neither")
    if options.certfile:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def no_password() -> str:
            raise UsageError(f"--ssl-keyfile {options.keyfile}: expected a key without a password")

        try:
            context.load_cert_chain(options.certfile, options.keyfile, no_password)
        except OSError as error:  # ssl.SSLError, too
            reason = error.strerror or error
            raise UsageError(
                f"--ssl-certfile {options.certfile}, --ssl-keyfile {options.keyfile}: {reason}"
            ) from None
