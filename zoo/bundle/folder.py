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

from zoo.bundle.card import CARD, ONNX, WEIGHTS, Card, parse, text
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
        data = msgspec.json.format(msgspec.json.encode(card), indent=1) + b"\n"
        write_atomic(path / CARD, data)
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

    def describe(self) -> dict[str, str]:
        """Return the card in lines for people: what each line is about, and its text."""
        card, path = self.card, self.path
        training, parity, data = card.training, card.parity, card.dataset
        unused = () if card.recipe.teacher else ("temperature", "alpha")
        recipe = {
            name: value
            for name, value in msgspec.structs.asdict(card.recipe).items()
            if value not in (0, "", "random", "auto") and name not in unused
        }
        robustness = {}
        if drawn := card.robustness:
            robustness["robustness"] = (
                f"{100 * drawn.accuracy:.1f} % of {drawn.pictures:,} digits drawn, printed and "
                f"photographed under {drawn.conditions} conditions; {100 * drawn.plain:.1f} % "
                f"with --prepare none"
            )
        threads = f"{training.threads} thread{'s' if training.threads > 1 else ''}"
        lines = {
            "model": f"{card.name}: {card.title} · {card.lesson}",
            "bundle": os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path),
            "parameters": f"{card.parameters:,}",
            "input": ", ".join(map(str, card.inputs)),
            "outputs": ", ".join(map(str, card.outputs)),
            "labels": ", ".join(card.labels) or "none (regression)",
            "test": f"{text(card.test)} on {data.test:,} rows",
            **robustness,
            "validation": f"{text(card.validation)} (epoch {training.epoch} was kept)",
            "parity": f"largest difference {parity.max_abs_difference:.1e}, same top-1 on "
            f"{parity.same_top1:,} of {parity.samples:,}",
            "dataset": f"{data.name}, {data.license}, SHA-256 {data.sha256[:16]}...",
            "recipe": ", ".join(f"{name}={value}" for name, value in recipe.items()),
            "training": f"{training.seconds:.1f} s on {training.hardware}, {threads}; "
            f"{training.command}",
            "versions": ", ".join(f"{name} {value}" for name, value in training.versions.items()),
            "license": card.license,
            "limits": card.limits,
        }
        if seeds := card.seeds:
            shipped = f"seed {seeds.shipped} ships, {seeds.why}"
            lines["seeds"] = f"{card.score} {card.spread}; {shipped}"
        return lines

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
