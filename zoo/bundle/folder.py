"""The bundle: a trained model on disk, opened once and handed to everything after training.

bundle = Bundle.open("resnet")          # a shipped one's name, a path, hf://user/repo[@revision]
bundle.card.score
bundle.read("model.onnx")               # bytes, checked against the card's SHA-256
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from zoo.bundle.card import CARD, ONNX, WEIGHTS, Card, parse
from zoo.errors import UsageError, VerificationError, unknown
from zoo.files import write_atomic

_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bundle:
    """A trained model on disk: a folder with card.json, model.onnx and model.safetensors."""

    path: Path
    card: Card

    @classmethod
    def open(cls, name: str | os.PathLike[str] | Bundle) -> Bundle:
        """Open a bundle and read its card; an open bundle is returned unchanged.

        Args:
            name: a shipped bundle's name, the path of a bundle, or hf://user/repo[@revision].

        Raises:
            UsageError: there is no such bundle.
            VerificationError: its card is damaged.
            ZooError: the Hub cannot be reached, and the bundle is not in the cache.
        """
        if isinstance(name, Bundle):
            return name
        path = locate(name)
        return cls(path, parse((path / CARD).read_bytes(), str(path / CARD)))

    @classmethod
    def write(cls, path: Path, card: Card) -> Bundle:
        """Write `card.json` atomically, as the last file of a bundle: it makes the folder one."""
        text = msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"
        write_atomic(path / CARD, text)
        return cls(path, card)

    def read(self, name: str) -> bytes:
        """Return the bytes of one of the card's files, checked against its SHA-256.

        Raises:
            VerificationError: the file is missing or was changed.
        """
        try:
            data = (self.path / name).read_bytes()
        except FileNotFoundError:
            raise VerificationError(f"bundle {self.path}: {name} is missing") from None
        digest = hashlib.sha256(data).hexdigest()
        expected = self.card.files.get(name, "not on the card")
        if digest != expected:
            raise VerificationError(
                f"bundle {self.path}: {name} does not match its card "
                f"(SHA-256 {digest[:12]}..., expected {expected[:12]}...)"
            )
        return data

    def check(self) -> None:
        """Check every file of the card against its SHA-256.

        Raises:
            VerificationError: as `read`.
        """
        for name in self.card.files:
            self.read(name)


def weights_dir() -> Path:
    """Return the folder of the shipped bundles: in the wheel, or in the repository."""
    packaged = _PACKAGE / "weights"
    return packaged if packaged.is_dir() else _PACKAGE.parent / "weights"


def shipped() -> list[str]:
    """Return the names of the shipped bundles, sorted."""
    return sorted(path.parent.name for path in weights_dir().glob(f"*/{CARD}"))


def locate(name: str | os.PathLike[str]) -> Path:
    """Return the folder that `Bundle.open` opens.

    Raises:
        UsageError, ZooError: as `Bundle.open`.
    """
    text = os.fspath(name)
    if text.startswith("hf://"):
        from zoo.bundle import hub

        return hub.download(text)
    if (weights_dir() / text / CARD).is_file():  # teachers/resnet too, which `shipped` omits
        return weights_dir() / text
    path = Path(text).expanduser()
    if (path / CARD).is_file():
        return path
    kind = "not a bundle"
    if path.is_dir() and (path / "checkpoint.safetensors").exists():
        kind = "an unfinished run"
    if os.sep in text or path.exists():
        raise UsageError(f"{text} is {kind}: expected a folder with {CARD}, {WEIGHTS}, {ONNX}")
    raise unknown("model", text, shipped())
