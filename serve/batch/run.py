"""Batch inference: sources -> session -> sinks, each at work while the others are."""

from __future__ import annotations

import os
import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serve.batch import files, sources
from serve.batch.sinks import Columns, Sink
from zoo.datasets import csv
from zoo.errors import UsageError, unknown
from zoo.files import passed_over
from zoo.progress import Bar
from zoo.runtime.session import Session

if TYPE_CHECKING:
    from serve.batch.sheet import Sheet

#: Blocks that may wait between reading and running: the bound on memory.
_AHEAD = 4
#: Names of columns that answers have.
_ANSWER = re.compile(r"source|error|prediction|(label|probability)(_\d+)?")


class Written(NamedTuple):
    """What an earlier attempt has written: the first rows of the job.

    Attributes:
        rows: how many.
        failed: how many of them with an error.
        first_error: as of `Tally`.
        names: of each row, in order.
    """

    rows: int = 0
    failed: int = 0
    first_error: str = ""
    names: Iterable[str] = ()


@dataclass
class Tally:
    """What a job has done.

    Attributes:
        device: that the model ran on.
        rows: written, those with an error too, and those of an earlier attempt.
        failed: rows with an error.
        first_error: the name and the error of the first of them; "" if there is none.
        seconds: from the first block to the last.
        passed: how many files of folders and archives were passed over, by their suffix.
        earlier: rows of an earlier attempt.
    """

    device: str
    rows: int = 0
    failed: int = 0
    first_error: str = ""
    seconds: float = 0.0
    passed: Counter[str] = field(default_factory=Counter)
    earlier: int = 0

    @property
    def summary(self) -> str:
        """The job in a line; in others, what was passed over and what failed."""
        speed = (self.rows - self.earlier) / self.seconds if self.seconds else 0
        before = f" ({self.earlier:,} of them written before)" if self.earlier else ""
        lines = [f"{self.rows:,} rows{before} on {self.device}, {speed:,.0f} rows/s"]
        if self.passed:
            lines.append(f"zoo: {passed_over(self.passed)}")
        if self.failed:
            failed = f"zoo: {self.failed:,} of {self.rows:,} inputs failed"
            lines.append(f"{failed}, first {self.first_error}")
        return "\n".join(lines)

    @property
    def exit_code(self) -> int:
        """0: done; 3: some inputs failed; 1: all of them."""
        if not self.failed:
            return 0
        return 3 if self.failed < self.rows else 1


_NOTHING = Written()


def run(
    session: Session,
    inputs: Sequence[str],
    sink: Sink,
    *,
    top: int = 1,
    written: Written = _NOTHING,
    keep: Sequence[str] = (),
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
        written: by an earlier attempt.
        keep: columns of the tables that are written too, as text.
        sheet: keeps the first rows, to be drawn.
        how: `prepare`, `invert` and `first_frame` of `zoo.images.decode`.

    Raises:
        UsageError: the first inputs are not those that are written.
    """
    bar = Bar(f"predict {session.card.name}", None, start=written.rows)
    if bar.shown:
        bar.set_total(files.count(inputs))
    watch = None if sheet is None else sheet.look
    blocks = _ahead(sources.read(inputs, session.card.spec, written.names, keep, watch, **how))

    def answers() -> Iterator[tuple[Columns, Counter[str]]]:
        for block in blocks:
            columns = predict(session, block, top, keep)
            if sheet is not None:
                sheet.answer(block, columns)
            yield columns, block.passed

    return write(answers(), sink, bar, session.device, written)


def write(
    answers: Iterable[tuple[Columns, Counter[str]]],
    sink: Sink,
    bar: Bar,
    device: str,
    written: Written = _NOTHING,
) -> Tally:
    """Write rows, a block at a time, and count them and what was passed over."""
    tally = Tally(device, *written[:3], earlier=written.rows)
    began = time.perf_counter()
    with bar:
        for columns, passed in answers:
            tally.passed += passed
            rows = len(columns["source"])
            if rows:
                sink.write(columns)
            bad = rows - columns["error"].count(None)
            if bad and not tally.failed:
                failures = zip(columns["source"], columns["error"], strict=True)
                name, error = next(pair for pair in failures if pair[1] is not None)
                tally.first_error = f"{name}: {error}"
            tally.rows += rows
            tally.failed += bad
            tally.seconds = time.perf_counter() - began
            bar.advance(rows, f"{(tally.rows - tally.earlier) / tally.seconds:,.0f} rows/s")
        bar.set_total(tally.rows)  # files that were passed over are no rows
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


def check_keep(keep: Sequence[str], inputs: Sequence[str]) -> None:
    """Check the columns to keep, before anything is read.

    Raises:
        UsageError: a name is given twice or is one of the answers', an input is no table, or a
            table lacks a column.
    """
    for name in keep:
        if keep.count(name) > 1:
            raise UsageError(f"--keep {name}: given twice")
        if _ANSWER.fullmatch(name):
            raise UsageError(f"--keep {name}: the answers have a column of this name already")
    for path in inputs if keep else ():
        kind = files.kind(path)
        if kind not in ("csv", "parquet") and path != "-" and "*" not in path:
            raise UsageError(f"--keep: expected .csv or .parquet files, {path} has no columns")
        if kind == "csv" and os.path.isfile(path):
            names = csv.header(Path(path))
            for name in keep:
                if name not in names:
                    raise unknown(f"column of {path}", name, names)


def predict(session: Session, block: sources.Block, top: int, keep: Sequence[str] = ()) -> Columns:
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
    none: Sequence[None] = [None] * len(keep)  # a row without columns: its file could not be read
    kept = zip(*(own or none for own in block.kept), strict=True)
    columns = {"source": block.names} | dict(zip(keep, map(list, kept), strict=False)) | columns
    columns["error"] = list(block.errors)
    return columns
