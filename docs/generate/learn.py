"""The files of the lessons that are committed: pages, notebooks and the first page of Learn."""

from __future__ import annotations

from pathlib import Path

from docs.generate import index, notebooks, outputs, pages
from docs.generate.words import LANGUAGES, ROOT
from zoo import lessons


def files() -> dict[Path, str]:
    """Return path and text of every committed file; each lesson needs its record.

    Raises:
        ValueError: a lesson was never run, or its record is of another script.
    """
    texts = {}
    for language in LANGUAGES:
        texts[ROOT / "docs" / language / "learn" / "index.md"] = index.page(language)
        for lesson in lessons.lessons():
            record = outputs.load(lesson.name)
            if record is None:
                raise ValueError(f"lesson {lesson.name!r} was never run: make docs")
            page = ROOT / "docs" / language / "learn" / f"{lesson.name}.md"
            texts[page] = pages.page(lesson, record, language)
            book = ROOT / "notebooks" / language / f"{lesson.name}.ipynb"
            texts[book] = notebooks.notebook(lesson, language)
    return texts


def write() -> list[Path]:
    """Write the files that differ from what is there, remove those of no lesson; return both."""
    changed = []
    texts = files()
    for path, text in texts.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    for path in present() - set(texts):
        path.unlink()
        changed.append(path)
    return changed


def present() -> set[Path]:
    """Return the pages and notebooks of lessons that are there."""
    return {*ROOT.glob("docs/*/learn/*.md"), *ROOT.glob("notebooks/*/*.ipynb")}
