"""Batch inference on a Ray cluster: the rows of `serve.batch.run`, by workers that decode and run.

files -> read (tasks) -> blocks of 256 rows, as locally -> decode (tasks) -> predict (actors)

Ray Data spreads the work, bounds the memory, keeps the order, and does again what was lost with a
worker or a machine. Without a GPU it joins the last two steps. What a step gives the next is
pickled by us: a row is no number, and shall arrive as it was.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import ray
from ray.data import DataContext
from ray.exceptions import RayError

from serve.batch import sources
from serve.batch.run import Tally, predict, write
from serve.batch.sinks import Columns, Sink
from zoo.bundle.card import CARD, ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import DeviceError, ZooError, first_line, last_line
from zoo.images import Invert
from zoo.progress import Bar
from zoo.runtime.session import Session
from zoo.spec import Spec

#: What a step takes and gives: a column of pickled bytes.
_Batch = dict[str, Sequence[bytes]]


def run(
    bundle: Bundle,
    given: Sequence[str],
    sink: Sink,
    *,
    address: str | None = None,
    device: str = "auto",
    top: int = 1,
    invert: Invert = "auto",
    **settings: Any,
) -> Tally:
    """Predict every input and write a row for each, in order: the same rows as `serve.batch.run`.

    Args:
        bundle: the model; it travels to the workers, which need this package and no more.
        given: as for `serve.batch.sources.read`; local paths must be there on every machine.
        sink: takes the rows, here.
        address: of a cluster; else RAY_ADDRESS's, else one on this machine, for this job alone.
        device: "auto" is "cuda" if the cluster has GPUs, else "cpu"; one GPU a worker.
        top: how many classes a row names.
        invert: see `zoo.images.decode`.
        settings: more of `zoo.Session`'s.

    Raises:
        DeviceError: the cluster has no GPU; or a worker's session has none.
        ZooError: the cluster cannot be reached, or the job failed there.
    """
    card = bundle.card
    parts = {CARD: (bundle.path / CARD).read_bytes(), ONNX: bundle.read(ONNX)}
    units = [pickle.dumps(unit) for unit in _units(sources.files(given))]
    bar = Bar(f"predict {card.name}", sources.count(given))
    with _cluster(address):
        there = ray.cluster_resources().get("GPU", 0)
        if device == "auto":
            device = "cuda" if there else "cpu"
        gpus = 1 if device in ("cuda", "tensorrt") else 0
        if gpus > there:
            raise DeviceError(f"device {device!r} was asked for: the cluster has no GPU")
        settings |= {"device": device, "threads": 1, "spin": False}
        if not units:
            return write([], sink, bar, device)
        rows = (
            ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
            .map_batches(partial(_read, spec=card.spec), batch_size=None)
            .repartition(target_num_rows_per_block=sources.BLOCK, strict=True)
            .map_batches(partial(_decode, spec=card.spec, invert=invert), batch_size=sources.BLOCK)
            .map_batches(
                _Predict, fn_constructor_args=(parts, settings, top), batch_size=1, num_gpus=gpus
            )
        )
        found = (pickle.loads(row["columns"]) for row in rows.iter_rows())
        return write(found, sink, bar, device)


def _units(files: Iterator[sources.File]) -> Iterator[list[sources.File]]:
    """Group files to what one task reads: 256 images, or one file that may hold many rows."""
    for image, some in itertools.groupby(files, lambda file: file[1] == "image"):
        while unit := list(itertools.islice(some, sources.BLOCK if image else 1)):
            yield unit


def _read(given: _Batch, spec: Spec) -> Iterator[_Batch]:
    found = sources.rows(itertools.chain(*map(pickle.loads, given["unit"])), spec)
    while some := list(itertools.islice(found, sources.BLOCK)):
        yield {"row": [pickle.dumps(row) for row in some]}


def _decode(given: _Batch, spec: Spec, invert: Invert) -> _Batch:
    block = sources.block(map(pickle.loads, given["row"]), spec, invert)
    return {"block": [pickle.dumps(tuple(block), protocol=5)]}


class _Predict:
    """A worker of its own: it opens the session once."""

    def __init__(self, parts: dict[str, bytes], settings: dict[str, Any], top: int) -> None:
        self._parts, self._settings, self._top = parts, settings, top

    @cached_property
    def _session(self) -> Session:
        """Not opened in `__init__`: Ray would start a worker that fails there for ever."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in self._parts.items():
                (Path(folder) / name).write_bytes(data)
            return Session(folder, **self._settings)

    def __call__(self, given: _Batch) -> _Batch:
        blocks = (sources.Block(*pickle.loads(data)) for data in given["block"])
        found: list[Columns] = [predict(self._session, block, self._top) for block in blocks]
        return {"columns": [pickle.dumps(columns) for columns in found]}


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Join a cluster or start one; be quiet there, and tell what goes wrong in one line."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        _start(address or os.environ.get("RAY_ADDRESS", "local"))
        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.raise_original_map_exception = True
        yield
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, ZooError):
            raise cause from error
        raise ZooError(f"the Ray job failed: {last_line(error)}") from error
    finally:
        ray.shutdown()


def _start(address: str) -> None:
    """Join the cluster at the address; "local" starts one, "auto" is the one on this machine."""
    try:
        if ":" in address:  # Ray itself would try for minutes, and end the process
            host, _, port = address.rpartition("/")[2].rpartition(":")
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray's are of many kinds
        where = "Ray did not start" if address == "local" else f"no Ray cluster at {address}"
        raise ZooError(f"{where}: {first_line(error)}") from error
