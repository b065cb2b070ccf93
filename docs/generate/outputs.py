"""What the cells of the lessons printed: `outputs/NAME.json`, kept until the code changes.

A lesson is run again when its code is another one, or a package that it imports has another
version. Running it draws its picture too.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from docs.generate import cells, execute
from docs.generate.words import LANGUAGES, ROOT
from zoo.lessons import Lesson

FOLDER = Path(__file__).parent / "outputs"
PICTURES = ROOT / "docs" / "lessons"


@dataclass(frozen=True)
class Record:
    """What a lesson printed.

    Attributes:
        script: SHA-256 of the code that was run.
        versions: of the packages that it imports.
        printed: by language, the text that each code cell printed.
    """

    script: str
    versions: dict[str, str]
    printed: dict[str, list[str]]


def digest(lesson: Lesson) -> str:
    """Return the SHA-256 of a script's code: its text may change without another run."""
    sources = [cell.source for cell in cells.code(cells.read(lesson.script))]
    return hashlib.sha256("\n\n".join(sources).encode()).hexdigest()


def versions(lesson: Lesson) -> dict[str, str]:
    """Return the versions of the packages that a script imports."""
    modules = set()
    for node in ast.walk(ast.parse(lesson.script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").partition(".")[0])
    packages = {**importlib.metadata.packages_distributions(), "zoo": ["torch-tutorial-zoo"]}
    names = {packages[module][0] for module in modules if module in packages}
    # Without the build, such as "+cpu": it prints the same.
    return {name: importlib.metadata.version(name).partition("+")[0] for name in sorted(names)}


def load(name: str) -> Record | None:
    """Return the record of a lesson, or None if it was never run."""
    path = FOLDER / f"{name}.json"
    return Record(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def is_current(lesson: Lesson) -> bool:
    """Say whether a lesson's record is that of its script and of the packages installed here."""
    record = load(lesson.name)
    return (
        record is not None
        and record.script == digest(lesson)
        and record.versions == versions(lesson)
        and (lesson.picture is None or (PICTURES / lesson.picture).is_file())
    )


def renew(lesson: Lesson) -> None:
    """Run a lesson in both languages; write its record, and its picture if it looks different.

    Raises:
        RuntimeError: the script failed, or drew no picture although it says so.
    """
    printed: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for language in LANGUAGES:
            printed[language] = execute.run(lesson.script, language, Path(folder))
        if lesson.picture:
            drawn = Path(folder) / "lesson-output" / lesson.picture
            if not drawn.is_file():
                raise RuntimeError(f"{lesson.script.name} drew no {lesson.picture}")
            if not look_the_same(drawn, PICTURES / lesson.picture):
                PICTURES.mkdir(exist_ok=True)
                shutil.copy(drawn, PICTURES / lesson.picture)
    FOLDER.mkdir(exist_ok=True)
    record = Record(digest(lesson), versions(lesson), printed)
    text = json.dumps(asdict(record), ensure_ascii=False, indent=1)
    (FOLDER / f"{lesson.name}.json").write_text(text + "\n", encoding="utf-8")


def look_the_same(first: Path, second: Path) -> bool:
    """Say whether two pictures look the same: one size, mean difference below 1 of 255 levels.

    The hinting of fonts differs between machines, so their bytes may differ.
    """
    if not (first.is_file() and second.is_file()):
        return False
    with Image.open(first) as one, Image.open(second) as other:
        if one.size != other.size:
            return False
        pixels = [np.asarray(image.convert("RGB"), np.float32) for image in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean()) < 1
