"""What the protocol's statistics show of each model: counts and times, summed over the workers.

Counted once a batch. Several workers each keep a small file per model in the metrics' folder, so
that whichever of them is asked adds up those of all, of ended ones too.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serve import protocol

_FIELDS = (
    "success", "success_ns", "fail", "fail_ns", "queue_ns", "input_ns", "infer_ns", "output_ns",
    "inferences", "executions", "last_ms",
)  # fmt: skip
_FORMAT = struct.Struct(f"<{len(_FIELDS)}Q")


class Counts:
    """One model's counts in this process; `ns` are nanoseconds, each request's own added up."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._values = [0] * len(_FIELDS)
        self._folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._shared: mmap.mmap | None = None
        if self._folder is not None:
            unique = f"statistics-{os.getpid()}-{uuid.uuid4().hex}-{quote(name, safe='')}.bin"
            try:
                with open(Path(self._folder) / unique, "w+b") as file:
                    file.truncate(_FORMAT.size)
                    self._shared = mmap.mmap(file.fileno(), _FORMAT.size)
            except OSError:  # without the folder, this process's own counts are shown
                self._folder = None

    def batch(
        self, *, rows: int, waited: list[int], times: tuple[int, int, int, int], answered: int
    ) -> None:
        """Count a batch.

        Args:
            rows: in it.
            waited: when each request that is answered arrived, by `time.perf_counter_ns`, as are
                the next two.
            times: when the batch began, was joined, had run, and was split.
            answered: now.
        """
        began, joined, ran, split = times
        requests, values = len(waited), self._values
        arrived = sum(waited)
        values[0] += requests
        values[1] += requests * answered - arrived
        values[4] += requests * began - arrived
        values[5] += requests * (joined - began)
        values[6] += requests * (ran - joined)
        values[7] += requests * (split - ran)
        values[8] += rows
        values[9] += 1
        values[10] = time.time_ns() // 1_000_000
        self._write()

    def failed(self, ns: int) -> None:
        """Count a request that got no answer from the model, after this many nanoseconds."""
        self._values[2] += 1
        self._values[3] += ns
        self._write()

    def document(self) -> dict[str, Any]:
        """Return the model's part of `GET /v2/models/stats`; durations are in nanoseconds."""
        total = dict(zip(_FIELDS, self._total(), strict=True))

        def duration(name: str, count: str = "success") -> dict[str, int]:
            return {"count": total[count], "ns": total[f"{name}_ns"]}

        none = {"count": 0, "ns": 0}
        return {
            "name": self._name,
            "version": protocol.VERSION,
            "last_inference": total["last_ms"],
            "inference_count": total["inferences"],
            "execution_count": total["executions"],
            "inference_stats": {
                "success": duration("success"),
                "fail": duration("fail", "fail"),
                "queue": duration("queue"),
                "compute_input": duration("input"),
                "compute_infer": duration("infer"),
                "compute_output": duration("output"),
                "cache_hit": none,
                "cache_miss": none,
            },
            "batch_stats": [],
        }

    def _write(self) -> None:
        if self._shared is not None:
            _FORMAT.pack_into(self._shared, 0, *self._values)

    def _total(self) -> list[int]:
        if self._folder is None:
            return self._values
        rows = [self._values]
        for path in Path(self._folder).glob(f"statistics-*-{quote(self._name, safe='')}.bin"):
            if path.name.split("-", 3)[3] != f"{quote(self._name, safe='')}.bin":
                continue  # a model whose name ends like this one's
            data = path.read_bytes()
            if len(data) == _FORMAT.size:
                rows.append(list(_FORMAT.unpack(data)))
        rows = rows[1:] or rows
        *sums, _ = map(sum, zip(*rows, strict=True))
        return [*sums, max(row[-1] for row in rows)]
