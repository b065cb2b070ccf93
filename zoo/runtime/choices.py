"""What `zoo tune` measured on this machine, kept in the user's cache; engine "auto" goes by it.

A measurement holds for one processor, number of cores, set of versions and set of ONNX files:
where one of them differs, there is none, and "auto" is ONNX Runtime as without a tuning.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec
from msgspec import Struct

from zoo import hardware
from zoo.bundle.card import ONNX
from zoo.bundle.folder import Bundle
from zoo.files import write_atomic

#: Rows of the two measurements; a session takes the first for up to `SMALL` rows.
BATCHES = (1, 256)
SMALL = 16
#: The most that the score may be below the card's model: 0.1 points of accuracy.
_TOLERANCE = 0.001
#: What a faster way has to gain: less is noise.
_GAIN = 1.03


class Result(Struct, frozen=True):
    """One way to run a model, measured.

    Attributes:
        engine: of `zoo.Session`.
        file: the ONNX file in the bundle.
        threads: of a run.
        score: accuracy, or R2, over the whole test set.
        rows_per_second: at each of `BATCHES`.
    """

    engine: str
    file: str
    threads: int
    score: float
    rows_per_second: tuple[float, float]

    @property
    def plain(self) -> bool:
        """Whether it is ONNX Runtime with the file of 32 bits."""
        return (self.engine, self.file) == ("onnx", ONNX)


class Tuning(Struct, frozen=True):
    """The results of one model on one machine."""

    model: str
    hardware: str
    versions: dict[str, str]
    results: tuple[Result, ...]

    def choose(self, batch: int, threads: int = 0) -> Result:
        """Return the fastest way for a batch size that is as accurate as the plain one.

        The plain one is ONNX Runtime with the file of 32 bits. Of ways that are equally fast, but
        for the noise, it is taken; and then the one of fewest threads, which other programs
        disturb least.

        Args:
            batch: one of `BATCHES`.
            threads: what a run may use; 0: any number.
        """
        allowed = [each for each in self.results if threads in (0, each.threads)] or self.results
        plain = [each for each in self.results if each.plain]
        score = max(plain or self.results, key=lambda each: each.threads).score
        accurate = [each for each in allowed if each.score >= score - _TOLERANCE] or allowed
        number = BATCHES.index(batch)
        most = max(each.rows_per_second[number] for each in accurate)
        near = [each for each in accurate if each.rows_per_second[number] * _GAIN >= most]
        return min(near, key=lambda each: (not each.plain, each.threads))


def onnx_files(bundle: Bundle) -> list[str]:
    """Return the ONNX files of a bundle, the one of 32 bits first."""
    return sorted((name for name in bundle.card.files if name.endswith(".onnx")), key=ONNX.__ne__)


def read(bundle: Bundle) -> Tuning | None:
    """Return what was measured of a bundle on this machine; None if nothing readable was."""
    try:
        return msgspec.json.decode(_path(bundle).read_bytes(), type=Tuning)
    except (OSError, msgspec.MsgspecError):
        return None


def write(bundle: Bundle, results: list[Result]) -> Path:
    """Keep what was measured; return the file."""
    tuning = Tuning(bundle.card.name, hardware.processor(), _versions(), tuple(results))
    path = _path(bundle)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, msgspec.json.encode(tuning))
    return path


def _versions() -> dict[str, str]:
    return hardware.versions("onnxruntime-gpu", "onnxruntime", "openvino")


def _path(bundle: Bundle) -> Path:
    files = [bundle.card.files[name] for name in onnx_files(bundle)]
    key = msgspec.json.encode([hardware.processor(), _versions(), files])
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    name = f"{bundle.card.name}-{hashlib.sha256(key).hexdigest()[:16]}.json"
    return home / "torch-tutorial-zoo" / "tuning" / name
