"""Jobs: an output file, written beside its path and renamed at the end; and how one is resumed.

What is written so far survives a kill: `.NAME.part` holds complete blocks of rows, `.NAME.job` the
description of the job, and `--resume` continues behind the last complete block.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from serve.batch.readers import BLOCK
from serve.batch.run import Tally
from serve.batch.sinks import SUFFIXES, Sink, writer
from zoo.errors import UsageError, needs_extra
from zoo.files import readable, write_atomic


class Job:
    """An output file, and how much of it an earlier attempt has written.

    Args:
        path: of the output; its suffix is its format.
        description: what must be the same for `resume`: the model, the inputs, the options.
        resume: continue what a killed job has written.

    Attributes:
        done: complete blocks that are written already.

    Raises:
        UsageError: another suffix; or `resume` where the file is finished or another job's.
        ZooError: pyarrow is missing.
    """

    def __init__(self, path: Path, description: dict[str, Any], resume: bool) -> None:
        self._suffix = path.suffix.lower()
        if self._suffix not in SUFFIXES:
            raise UsageError(f"output {path}: expected a name ending in {', '.join(SUFFIXES)}")
        if self._suffix == ".parquet":
            with needs_extra("parquet", "a .parquet output"):  # now, not after the first block
                importlib.import_module("pyarrow")
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._description_path = path.with_name(f".{path.name}.job")
        self._description = msgspec.json.encode(description)
        self.done = 0
        if not resume:
            return
        if not self._part.exists():
            if path.exists():
                raise UsageError(f"--resume: {path} is finished: there is nothing to resume")
            return  # killed before the first block, or never started
        if (
            not self._description_path.exists()
            or self._description_path.read_bytes() != self._description
        ):
            raise UsageError(
                f"--resume: {self._part} belongs to another job; run the same command as before, "
                f"or start a new job without --resume"
            )
        self.done = self._cut()

    @contextmanager
    def open(self) -> Iterator[Sink]:
        """Open the sink; at the end without an error, the file gets its name.

        A kill or Ctrl-C leaves what is written for --resume; any other error leaves nothing.

        Raises:
            OSError: it cannot be written.
        """
        try:
            write_atomic(self._description_path, self._description)
            with self._part.open("ab" if self.done else "wb") as file:
                yield writer(file, self._suffix, fresh=not self.done)
            if self._suffix == ".parquet":
                self._to_parquet()
            self._part.replace(self._path)
            self._description_path.unlink()
        except Exception as error:
            self._part.unlink(missing_ok=True)
            self._description_path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                error.filename = str(self._path)
            raise

    def _cut(self) -> int:
        """Cut the part off behind its last complete block; return how many blocks remain."""
        if self._suffix == ".parquet":
            ends = list(_messages(self._part)) or [0]  # the first message is the schema
        else:
            with self._part.open("rb") as file:
                records = _records(file, header=self._suffix == ".csv")
                ends = [0, *itertools.islice(records, BLOCK - 1, None, BLOCK)]
        with self._part.open("r+b") as file:
            file.truncate(ends[-1])
        return len(ends) - 1

    def _to_parquet(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parquet = self._part.with_suffix(".parquet")
        with (
            self._part.open("rb") as file,
            pa.ipc.open_stream(file) as stream,
            pq.ParquetWriter(parquet, stream.schema) as output,
        ):
            for batch in stream:
                output.write_batch(batch)
        parquet.replace(self._part)


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
    names = [readable(text) for text in inputs]
    if path.exists() and any(os.path.exists(name) and path.samefile(name) for name in inputs):
        raise UsageError(f"output {path} is one of the inputs: give another name")
    job = Job(path, description | {"inputs": names} | options, resume)
    with job.open() as sink:
        return run(inputs, sink, **options, **({"skip": job.done} if resume else {}))


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
