"""A lesson's page in one language: its Markdown, its code, what the code printed, its picture."""

from __future__ import annotations

from docs.generate import cells, exercises
from docs.generate.outputs import Record
from docs.generate.words import Language, pick
from zoo.lessons import Lesson

#: From a page, docs/LANGUAGE/learn/NAME.md, to the repository's root.
_ROOT = "../../.."


def page(lesson: Lesson, record: Record, language: Language) -> str:
    """Return the page's Markdown; `record` has a text for each code cell.

    Raises:
        ValueError: the record is of another script.
    """
    title = pick(language, lesson.heading_zh, lesson.heading_en)
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    parts = [
        f'---\ntitle: "{title}"\nscript: {record.script}\nversions: "{versions}"\n---',
        f"# {title}",
        _header(lesson, language),
    ]
    picture_is_shown = False
    printed = iter(record.printed[language])
    for cell in cells.read(lesson.script):
        if cell.kind == "markdown":
            if cell.language in (None, language):
                parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if (text := next(printed, None)) is None:
            raise ValueError(f"{lesson.name}: the record has fewer cells than the script")
        if text:
            parts.append(f'```text title="{pick(language, "输出", "Output")}"\n{text}\n```')
        if lesson.picture and draws(cell.source) and not picture_is_shown:
            parts.append(f"![{title}](../../lessons/{lesson.picture})")
            picture_is_shown = True
    return "\n\n".join(parts) + "\n"


def draws(source: str) -> bool:
    """Say whether a cell saves the lesson's picture."""
    return "lessons.save(" in source or "picture_path(" in source


def _header(lesson: Lesson, language: Language) -> str:
    def link(path: str) -> str:
        return f"[`{path}`]({_ROOT}/{path})"

    script = f"examples/{lesson.name}.py"
    notebook = f"notebooks/{language}/{lesson.name}.ipynb"
    colon = pick(language, "：", ": ")
    rows = [
        (pick(language, "脚本", "Script"), link(script)),
        (pick(language, "运行", "Run it"), f"`zoo lesson {lesson.name}`"),
        ("Notebook", link(notebook)),
        (
            pick(language, "zoo 中的代码", "Code in the zoo"),
            ", ".join(map(link, lesson.implements)),
        ),
    ]
    if names := exercises.of(lesson.name):
        commands = pick(language, "、", ", ").join(f"`zoo exercise {name}`" for name in names)
        rows.append((pick(language, "习题", "Exercise"), commands))
    return "\n".join(f"- {name}{colon}{value}" for name, value in rows)
