"""The bundle: a trained model on disk, opened once and handed to everything after training.

bundle = Bundle.open("resnet")          # a shipped one's name, a path, hf://user/repo[@revision]
bundle.card.score
bundle.read("model.onnx")               # bytes, checked against the card's SHA-256
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from zoo.bundle import onnx_header
from zoo.bundle.card import CARD, ONNX, WEIGHTS, Card, parse, text
from zoo.errors import UsageError, VerificationError, unknown
from zoo.files import write_atomic

#: What training draws into a bundle besides.
PICTURES = ("curves.png", "confusion.png")
_PNG = b"\x89PNG\r\n\x1a\n"
_LARGEST_PICTURE = 4_000_000  # bytes
#: What recipes name as their teacher: it has a separator, and is no path of the user.
_TEACHERS = re.compile(r"teachers/\w+")
_PACKAGE = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bundle:
    """A trained model on disk: a folder with card.json, model.onnx and model.safetensors."""

    path: Path
    card: Card
    #: Files that are in memory, by name; see `hold`.
    held: dict[str, bytes] = field(default_factory=dict, repr=False, compare=False)

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
            VerificationError: the file is not on the card, is missing, was changed, or is a link to
                a file outside the bundle.
        """
        expected = self.card.files.get(name)
        if expected is None and name == ONNX:
            raise VerificationError(
                f"bundle {self.path} has no {ONNX}: it was refused when the training ended; "
                f"zoo export {self.path} tries it again"
            )
        if expected is None:
            raise VerificationError(
                f"bundle {self.path}: {name} does not match its card, which does not name it"
            )
        if (data := self.held.get(name)) is None:
            data = self._file(name).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != expected:
            raise VerificationError(
                f"bundle {self.path}: {name} does not match its card "
                f"(SHA-256 {digest[:12]}..., expected {expected[:12]}...)"
            )
        return data

    def picture(self, name: str) -> bytes | None:
        """Return a picture that training drew, or None if there is none; no card has its hash.

        Args:
            name: one of `PICTURES`.
        """
        if name in self.held:
            return self.held[name]
        try:
            with self._file(name).open("rb") as file:
                data = file.read(_LARGEST_PICTURE + 1)
        except (VerificationError, OSError):
            return None
        return data if data.startswith(_PNG) and len(data) <= _LARGEST_PICTURE else None

    def hold(self, name: str) -> Bundle:
        """Return the bundle under a name, with what serving needs of it in memory.

        So it stays the version that it is now, whatever happens to its files.

        Raises:
            VerificationError: as `read`.
        """
        held = {ONNX: self.read(ONNX)}
        held |= {file: data for file in PICTURES if (data := self.picture(file)) is not None}
        return Bundle(self.path, msgspec.structs.replace(self.card, name=name), held)

    def _file(self, name: str) -> Path:
        """Return the path of one of its files.

        Raises:
            VerificationError: it is missing, is not a file, or is a link that leads out of here.
        """
        root, path = self.path.resolve(), (self.path / name).resolve()
        homes = [root]
        if root.parent.name == "snapshots":  # the Hub's cache: its files are links into blobs/
            homes.append(root.parent.parent / "blobs")
        if not any(path.is_relative_to(home) for home in homes):
            raise VerificationError(f"bundle {self.path}: {name} is a link to a file outside of it")
        if not path.exists():
            raise VerificationError(f"bundle {self.path}: {name} is missing")
        if not path.is_file():
            raise VerificationError(f"bundle {self.path}: {name} is not a file")
        return path

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
        lines = {
            "model": f"{card.name}: {card.title} · {card.lesson}",
            "bundle": os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path),
            "parameters": f"{card.parameters:,}",
            "input": ", ".join(map(str, card.inputs)),
            "outputs": ", ".join(map(str, card.outputs)),
            "labels": ", ".join(card.labels) or "none (regression)",
            "test": f"{text(card.test)} on {data.test:,} rows",
            **robustness,
            "validation": text(card.validation)
            + (f" (epoch {training.epoch} was kept)" if training.epoch else ""),
            "files": self._files(),
            "parity": f"largest difference {parity.max_abs_difference:.1e}, same top-1 on "
            f"{parity.same_top1:,} of {parity.samples:,}"
            if parity.samples
            else "not measured: the ONNX file was refused",
            "dataset": f"{data.name}, {data.license}, SHA-256 {data.sha256[:16]}...",
            "recipe": ", ".join(f"{name}={value}" for name, value in recipe.items()),
            "training": f"elsewhere; imported by {training.command}"
            if training.imported
            else f"{training.seconds:.1f} s on {training.hardware}, {training.threads_text}; "
            f"{training.command}",
            "versions": ", ".join(f"{name} {value}" for name, value in training.versions.items()),
            "license": card.license,
            "limits": card.limits,
        }
        if seeds := card.seeds:
            shipped = f"seed {seeds.shipped} ships, {seeds.why}"
            lines["seeds"] = f"{card.score} {card.spread}; {shipped}"
        return lines

    def _files(self) -> str:
        if ONNX not in self.card.files:
            return f"{WEIGHTS} {(self.path / WEIGHTS).stat().st_size / 1000:,.0f} kB, no ONNX file"
        header = onnx_header.read(self.read(ONNX))
        names = sorted(self.card.files, key=lambda name: (name != ONNX, name == WEIGHTS, name))
        sizes = [f"{name} {(self.path / name).stat().st_size / 1000:,.0f} kB" for name in names]
        sizes[0] += f" (opset {header.opset}, IR {header.ir_version})"
        return ", ".join(sizes)

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


def _is_path(text: str) -> bool:
    """Say whether a text names a path, and never a shipped model: "./cnn", "cnn/", "~/cnn", "."."""
    separators = (os.sep, os.altsep) if os.altsep else (os.sep,)
    return text in (".", "..") or text.startswith("~") or any(one in text for one in separators)


@functools.cache
def _say_which(name: str) -> None:
    """Say once that a name is taken for the shipped model, not for the bundle in that folder."""
    print(f"{name}: the shipped model; ./{name} names the bundle in this folder", file=sys.stderr)


def locate(name: str | os.PathLike[str]) -> Path:
    """Return the folder that `Bundle.open` opens.

    Raises:
        UsageError, ZooError: as `Bundle.open`.
    """
    text = os.fspath(name)
    if text.startswith("hf://"):
        from zoo.bundle import hub

        return hub.download(text)
    path, own = Path(text).expanduser(), weights_dir() / text
    as_path = _is_path(text)
    if not as_path and (own / CARD).is_file():
        if (path / CARD).is_file() and path.resolve() != own.resolve():
            _say_which(text)
        return own
    if (path / CARD).is_file():
        return path
    if _TEACHERS.fullmatch(text) and (own / CARD).is_file():  # of recipes; `shipped` omits them
        return own
    kind = "not a bundle"
    if path.is_dir() and (path / "checkpoint.safetensors").exists():
        kind = "an unfinished run"
    if as_path or path.exists():
        raise UsageError(f"{text} is {kind}: expected a folder with {CARD}, {WEIGHTS}, {ONNX}")
    raise unknown("model", text, shipped())
