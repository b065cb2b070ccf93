"""Jobs: an output file, written beside its path and renamed at the end; and how one is resumed.

What is written so far survives a kill: `.NAME.part` holds complete blocks of rows, `.NAME.job` the
description of the job, and `--resume` continues behind the last complete block. It goes by the rows
that are written: if the inputs no longer begin with them, it is refused.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from serve.batch.readers import BLOCK
from serve.batch.run import Tally, Written
from serve.batch.sinks import SUFFIXES, Sink, writer
from zoo.errors import UsageError, needs_extra
from zoo.files import locked, readable, write_atomic


class Job:
    """An output file, and how much of it an earlier attempt has written.

    Args:
        path: of the output; its suffix is its format. A link is followed.
        description: what must be the same for `resume`: the model, the inputs, the options.
        resume: continue what a killed job has written.

    Raises:
        UsageError: another suffix; a folder; or `resume` where the file is finished or another
            job's.
        ZooError: pyarrow is missing.
    """

    def __init__(self, path: Path, description: dict[str, Any], resume: bool) -> None:
        self._suffix = path.suffix.lower()
        if self._suffix not in SUFFIXES:
            raise UsageError(f"output {path}: expected a name ending in {', '.join(SUFFIXES)}")
        if path.is_dir():
            raise UsageError(f"output {path} is a folder, expected a file")
        if self._suffix == ".parquet":
            with needs_extra("parquet", "a .parquet output"):  # now, not after the first block
                importlib.import_module("pyarrow")
        self._path = Path(os.path.realpath(path))
        self._part = self._beside("part")
        self._description_path = self._beside("job")
        self._description = msgspec.json.encode(description)
        self._resume = resume
        self._resumed = False
        if resume and not self._part.exists() and path.exists():
            raise UsageError(f"--resume: {path} is finished: there is nothing to resume")

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open the sink; at the end without an error, the file gets its name.

        Whatever ends the job, what is written stays for `resume`.

        Raises:
            UsageError: another job is writing this file, or has written what is to be resumed.
            OSError: it cannot be written.
        """
        with self._locked():
            if self._resume and self._part.exists():
                self._check_description()
                self._resumed = self._cut()
            try:
                write_atomic(self._description_path, self._description)
                with self._part.open("ab" if self._resumed else "wb") as file:
                    yield writer(file, self._suffix, fresh=not self._resumed)
                if self._suffix == ".parquet":
                    self._to_parquet()
                else:
                    self._part.replace(self._path)
            except BaseException as error:
                if isinstance(error, OSError):
                    error.filename = str(self._path)
                if self._part.exists() and self._part.stat().st_size:
                    error.add_note(f"what is written is in {self._part}: --resume continues")
                    raise
                self._remove()
                raise
            self._remove()

    def written(self) -> Written:
        """Read what an earlier attempt has written."""
        rows, failed, first_error = 0, 0, ""
        for source, error in self._rows() if self._resumed else ():
            rows += 1
            failed += error is not None
            first_error = first_error or (f"{source}: {error}" if error else "")
        return Written(rows, failed, first_error, (source for source, _ in self._rows()))

    def _rows(self) -> Iterator[tuple[str, str | None]]:
        """Yield the source and the error of each row of the part."""
        if self._suffix == ".parquet":
            for batch in _batches(self._part):
                columns = batch.select(["source", "error"]).to_pydict()
                yield from zip(columns["source"], columns["error"], strict=True)
        elif self._suffix == ".jsonl":
            with self._part.open("rb") as lines:
                for line in lines:
                    row = msgspec.json.decode(line)
                    yield row["source"], row["error"]
        else:
            with self._part.open(encoding="utf-8", newline="") as text:
                for cells in csv.DictReader(text):
                    yield cells["source"], cells["error"] or None

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(f".{self._path.name}.{suffix}")

    def _remove(self) -> None:
        self._part.unlink(missing_ok=True)
        self._description_path.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with locked(self._beside("lock")) as held:
                if not held:
                    raise UsageError(f"output {self._path} is being written by another job")
                yield
        except OSError as error:
            error.filename = str(self._path)  # not that of the lock
            raise

    def _check_description(self) -> None:
        """Raise UsageError if the part is that of a job with another model, inputs or options."""
        try:
            before = msgspec.json.decode(self._description_path.read_bytes())
        except (OSError, msgspec.DecodeError):
            before = {}
        now = msgspec.json.decode(self._description)
        changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
        if changed:
            raise UsageError(
                f"--resume: {self._part} belongs to another job, with other {', '.join(changed)}; "
                f"run the same command on the same files as before, or a new job without --resume"
            )

    def _cut(self) -> bool:
        """Cut the part off behind its last complete block; return whether anything remains.

        Whole blocks, so that the rest is predicted in the same batches as without the kill.
        """
        if self._suffix == ".parquet":
            ends = list(_messages(self._part)) or [0]  # the first message is the schema
        else:
            with self._part.open("rb") as file:
                records = _records(file, header=self._suffix == ".csv")
                ends = [0, *itertools.islice(records, BLOCK - 1, None, BLOCK)]
        with self._part.open("r+b") as file:
            file.truncate(ends[-1])
        return len(ends) > 1

    def _to_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parquet = self._beside("parquet")
        try:
            with (
                self._part.open("rb") as file,
                pa.ipc.open_stream(file) as stream,
                pq.ParquetWriter(parquet, stream.schema) as output,
            ):
                for batch in stream:
                    output.write_batch(batch)
            parquet.replace(self._path)
        finally:
            parquet.unlink(missing_ok=True)


def to_file(
    run: Callable[..., Tally],
    inputs: Sequence[str],
    path: Path,
    description: dict[str, Any],
    *,
    resume: bool,
    **options: Any,
) -> Tally:
    """Run a batch job into an output file.

    Args:
        run: `serve.batch.run.run` or `serve.ray.batch.run`, with its model.
        inputs: as for `run`.
        path: of the output.
        description: what must be the same to resume the job, besides inputs and options.
        resume: continue what a killed job has written.
        options: of `run`.

    Raises:
        UsageError, ZooError: as `Job`. OSError: the file cannot be written.
    """
    if path.exists() and any(os.path.exists(name) and path.samefile(name) for name in inputs):
        raise UsageError(f"output {path} is one of the inputs: give another name")
    description |= {"inputs": [_identity(text) for text in inputs]} | options
    job = Job(path, description, resume)
    with job.open() as sink:
        return run(inputs, sink, **options, **({"written": job.written()} if resume else {}))


def _identity(text: str) -> list[Any]:
    """Return an input's name and, of a file, what changes with its content: a job resumes by both.

    A folder's files are compared by their names, with the rows that are written.
    """
    if not os.path.isfile(text):
        return [readable(text)]
    status = os.stat(text)
    return [readable(text), status.st_size, status.st_mtime_ns]


def _batches(path: Path) -> Iterator[Any]:
    """Yield the record batches of an Arrow stream, which may lack its end."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        stream = pa.ipc.open_stream(file)
        with contextlib.suppress(StopIteration, pa.ArrowException, EOFError):
            while True:
                yield stream.read_next_batch()


def _messages(path: Path) -> Iterator[int]:
    """Yield the offset behind each complete message of an Arrow stream."""
    import pyarrow as pa

    with pa.OSFile(str(path)) as file:
        while True:
            try:
                pa.ipc.read_message(file)
            except (pa.ArrowException, OSError, EOFError):
                return
            yield file.tell()


def _records(file: IO[bytes], *, header: bool) -> Iterator[int]:
    """Yield the offset behind each complete record; a quoted CSV field may hold line ends."""
    quotes = offset = 0
    for line in file:
        offset += len(line)
        quotes += line.count(b'"') if header else 0
        if not line.endswith(b"\n"):
            return
        if quotes % 2 == 0 and not (header and offset == len(line)):  # the header is no record
            yield offset
