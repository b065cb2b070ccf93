"""Batch inference on a Ray cluster: the rows of `serve.batch.run`, by workers that decode and run.

files -> read (tasks) -> blocks of 256 rows, as locally -> decode (tasks) -> predict (actors)

Ray Data spreads the work, bounds the memory, keeps the order, and repeats what was lost with a
worker or a machine. Without a GPU it joins the last two steps. Between steps, rows are pickled
bytes: Ray Data would convert them to Arrow or NumPy columns, which they do not fit.
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

from serve.batch import files, readers, sources
from serve.batch.readers import BLOCK
from serve.batch.run import Tally, predict, write
from serve.batch.sinks import Sink
from zoo.bundle.card import CARD, ONNX
from zoo.bundle.folder import Bundle
from zoo.errors import DeviceError, ZooError, first_line, last_line
from zoo.images import Invert, Prepare
from zoo.progress import Bar
from zoo.runtime.session import Session
from zoo.spec import Spec

#: The input and output of a step: a column of pickled bytes.
_Batch = dict[str, Sequence[bytes]]


def run(
    bundle: Bundle,
    inputs: Sequence[str],
    sink: Sink,
    *,
    address: str | None = None,
    device: str = "auto",
    top: int = 1,
    keep: Sequence[str] = (),
    prepare: Prepare = "auto",
    invert: Invert = "auto",
    first_frame: bool = False,
    **settings: Any,
) -> Tally:
    """Predict every input and write a row for each, in order: the same rows as `serve.batch.run`.

    Args:
        bundle: the model; it is sent to the workers, which need this package alone.
        inputs: as for `serve.batch.sources.read`; local paths must exist on every machine.
        sink: takes the rows, here.
        address: of a cluster; else RAY_ADDRESS's, else one on this machine, for this job alone.
        device: "auto" is "cuda" if the cluster has GPUs, else "cpu"; one GPU a worker.
        top: how many classes a row names.
        keep: columns of the tables that are written too, as text.
        prepare: see `zoo.images.decode`, as for `invert`.
        invert: see there.
        first_frame: see there.
        settings: other keyword arguments of `zoo.Session`.

    Raises:
        DeviceError: the cluster has no GPU; or a worker's session has none.
        ZooError: the cluster cannot be reached, or the job failed there.
    """
    card = bundle.card
    contents = {CARD: (bundle.path / CARD).read_bytes(), ONNX: bundle.read(ONNX)}
    units = [pickle.dumps(unit) for unit in _units(files.files(inputs))]
    bar = Bar(f"predict {card.name}", files.count(inputs))
    with _cluster(address):
        cluster_gpus = ray.cluster_resources().get("GPU", 0)
        if device == "auto":
            device = "cuda" if cluster_gpus else "cpu"
        gpus = 1 if device in ("cuda", "tensorrt") else 0
        if gpus > cluster_gpus:
            raise DeviceError(f"device {device!r} is not available: the cluster has no GPU")
        how: dict[str, Any] = {"prepare": prepare, "invert": invert, "first_frame": first_frame}
        settings |= {"device": device, "threads": 1, "spin": False}
        if not units:
            return write([], sink, bar, device)
        rows = (
            ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
            .map_batches(partial(_read, spec=card.spec, keep=keep), batch_size=None)
            .repartition(target_num_rows_per_block=BLOCK, strict=True)
            .map_batches(
                partial(_decode, spec=card.spec, how=how),
                batch_size=BLOCK,
            )
            .map_batches(
                _Predict,
                fn_constructor_args=(contents, settings, top, keep),
                batch_size=1,
                num_gpus=gpus,
            )
        )
        answers = (pickle.loads(row["columns"]) for row in rows.iter_rows())
        return write(answers, sink, bar, device)


def _units(paths: Iterator[files.File]) -> Iterator[list[files.File]]:
    """Group files into what one task reads: 256 images, or one file that may hold many rows."""
    for image, group in itertools.groupby(paths, lambda file: file[1] == "image"):
        while unit := list(itertools.islice(group, BLOCK if image else 1)):
            yield unit


def _read(batch: _Batch, spec: Spec, keep: Sequence[str]) -> Iterator[_Batch]:
    rows = readers.rows(itertools.chain(*map(pickle.loads, batch["unit"])), spec, keep)
    while some := list(itertools.islice(rows, BLOCK)):
        yield {"row": [pickle.dumps(row) for row in some]}


def _decode(batch: _Batch, spec: Spec, how: dict[str, Any]) -> _Batch:
    block = sources.block(map(pickle.loads, batch["row"]), spec, **how)
    return {"block": [pickle.dumps(tuple(block), protocol=5)]}


class _Predict:
    """A worker of its own: it opens the session once."""

    def __init__(
        self,
        contents: dict[str, bytes],
        settings: dict[str, Any],
        top: int,
        keep: Sequence[str],
    ) -> None:
        self._contents, self._settings, self._top, self._keep = contents, settings, top, keep

    @cached_property
    def _session(self) -> Session:
        """Opened late: if it failed in `__init__`, Ray would restart the worker forever."""
        with tempfile.TemporaryDirectory() as folder:
            for name, data in self._contents.items():
                (Path(folder) / name).write_bytes(data)
            return Session(folder, **self._settings)

    def __call__(self, batch: _Batch) -> _Batch:
        blocks = (sources.Block(*pickle.loads(data)) for data in batch["block"])
        answers = (
            (predict(self._session, block, self._top, self._keep), block.passed) for block in blocks
        )
        return {"columns": [pickle.dumps(answer) for answer in answers]}


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """Join or start a cluster, with its logs off, and turn its errors into one line."""
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
    except Exception as error:  # Ray raises many unrelated types
        where = "Ray did not start" if address == "local" else f"no Ray cluster at {address}"
        raise ZooError(f"{where}: {first_line(error)}") from error
