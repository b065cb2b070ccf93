"""Batch inference: sources -> session -> sinks, each at work while the others are."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from serve.batch import files, sources
from serve.batch.readers import BLOCK
from serve.batch.sinks import Columns, Sink
from zoo.progress import Bar
from zoo.runtime.session import Session

if TYPE_CHECKING:
    from serve.batch.sheet import Sheet

#: Blocks that may wait between reading and running: the bound on memory.
_AHEAD = 4


@dataclass
class Tally:
    """What a job has done.

    Attributes:
        device: that the model ran on.
        rows: written, those with an error too.
        failed: rows with an error.
        first_error: the name and the error of the first of them; "" if there is none.
        seconds: from the first block to the last.
    """

    device: str
    rows: int = 0
    failed: int = 0
    first_error: str = ""
    seconds: float = 0.0

    @property
    def summary(self) -> str:
        """The job in a line; in another one, how many inputs failed and the first of them."""
        speed = self.rows / self.seconds if self.seconds else 0
        line = f"{self.rows:,} rows on {self.device}, {speed:,.0f} rows/s"
        if not self.failed:
            return line
        failed = f"zoo: {self.failed:,} of {self.rows:,} inputs failed"
        return f"{line}\n{failed}, first {self.first_error}"

    @property
    def exit_code(self) -> int:
        """0: done; 3: some inputs failed; 1: all of them."""
        if not self.failed:
            return 0
        return 3 if self.failed < self.rows else 1


def run(
    session: Session,
    inputs: Sequence[str],
    sink: Sink,
    *,
    top: int = 1,
    skip: int = 0,
    sheet: Sheet | None = None,
    **how: Any,
) -> Tally:
    """Predict every input in order and write a row for each; a bad input is a row with its error.

    One thread reads and decodes, this one runs the model and writes; memory holds a few blocks,
    whatever the size of the input.

    Args:
        session: the model.
        inputs: files, folders, globs and so on; see `serve.batch.sources.read`.
        sink: takes the rows.
        top: how many classes a row names.
        skip: blocks that an earlier attempt has written.
        sheet: keeps the first rows, to be drawn.
        how: `prepare` and `invert` of `zoo.images.decode`.
    """
    bar = Bar(f"predict {session.card.name}", None, start=skip * BLOCK)
    if bar.shown:
        bar.set_total(files.count(inputs))
    watch = None if sheet is None else sheet.look
    blocks = _ahead(sources.read(inputs, session.card.spec, skip, watch, **how))

    def answers() -> Iterator[Columns]:
        for block in blocks:
            columns = predict(session, block, top)
            if sheet is not None:
                sheet.answer(block, columns)
            yield columns

    return write(answers(), sink, bar, session.device)


def write(blocks: Iterable[Columns], sink: Sink, bar: Bar, device: str) -> Tally:
    """Write rows, a block at a time, and count them."""
    tally = Tally(device)
    began = time.perf_counter()
    with bar:
        for columns in blocks:
            sink.write(columns)
            rows = len(columns["source"])
            bad = rows - columns["error"].count(None)
            if bad and not tally.failed:
                failures = zip(columns["source"], columns["error"], strict=True)
                name, error = next(pair for pair in failures if pair[1] is not None)
                tally.first_error = f"{name}: {error}"
            tally.rows += rows
            tally.failed += bad
            tally.seconds = time.perf_counter() - began
            bar.advance(rows, f"{tally.rows / tally.seconds:,.0f} rows/s")
    return tally


def _ahead(blocks: Iterable[sources.Block]) -> Iterator[sources.Block]:
    """Read a few blocks ahead in a thread; its errors are raised here."""
    waiting: queue.Queue[sources.Block | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: sources.Block | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for block in blocks:
                put(block)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    threading.Thread(target=work, name="zoo-read", daemon=True).start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()


def predict(session: Session, block: sources.Block, top: int) -> Columns:
    """Predict a block's rows; one that could not be read is a row of None with its error."""
    predictions, labels = session.predict(block.inputs), session.card.labels
    columns: Columns = {"source": block.names}
    if not labels:
        columns["prediction"] = predictions.values.tolist()
    elif top == 1:
        best = predictions.probabilities.max(axis=1, initial=0)
        columns |= {"label": predictions.labels, "probability": best.tolist()}
    else:
        order = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :top]
        values = np.take_along_axis(predictions.probabilities, order, axis=1)
        for rank in range(order.shape[1]):
            suffix = f"_{rank + 1}" if rank else ""
            columns[f"label{suffix}"] = [labels[index] for index in order[:, rank]]
            columns[f"probability{suffix}"] = values[:, rank].tolist()
    if len(block.inputs) < len(block.names):  # the session saw the good rows alone
        for name in [name for name in columns if name != "source"]:
            good = iter(columns[name])
            columns[name] = [None if error else next(good) for error in block.errors]
    columns["error"] = list(block.errors)
    return columns
