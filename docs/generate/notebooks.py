"""A lesson's notebook in one language, without outputs, from the same script as its page."""

from __future__ import annotations

import nbformat

from docs.generate import cells, pages
from docs.generate.chinese import join_lines
from docs.generate.words import Language, pick
from zoo.lessons import Lesson

_INSTALL_ZH = """\
安装（需要 Python 3.11 或更新的版本；本课离线运行，数据随项目附带）：在项目的文件夹里执行

```sh
uv pip install -e ".[train]" ipykernel
```

没有 NVIDIA GPU 的机器可以装小得多的 CPU 版 PyTorch：

```sh
uv pip install --torch-backend cpu -e ".[train]" ipykernel
```

没有 uv 时先执行 `pip install uv`；执行过 `make test` 的话，用 `.venv` 作内核即可，什么都不用装。
"""
_INSTALL_EN = """\
To install (Python 3.11 or newer; the lesson runs offline, its data comes with the project), in the
project's folder:

```sh
uv pip install -e ".[train]" ipykernel
```

A machine without an NVIDIA GPU can have the CPU version of PyTorch, which is much smaller:

```sh
uv pip install --torch-backend cpu -e ".[train]" ipykernel
```

Without uv, run `pip install uv` first. After `make test`, take `.venv` as the kernel: it has
everything.
"""


def notebook(lesson: Lesson, language: Language) -> str:
    """Return the notebook as JSON; the same script gives the same bytes."""
    title = pick(language, lesson.heading_zh, lesson.heading_en)
    install = pick(language, _INSTALL_ZH, _INSTALL_EN)
    contents = [
        ("markdown", f"# {title}\n\n{install.strip()}"),
        ("code", _language_cell(language)),
    ]
    for cell in cells.read(lesson.script):
        if cell.language in (None, language):
            contents.append((cell.kind, cell.source))
        if cell.kind == "code" and lesson.picture and pages.draws(cell.source):
            contents.append(("code", _show(lesson.picture)))
    book = nbformat.v4.new_notebook(
        metadata={
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, (kind, source) in enumerate(contents):
        name = f"{lesson.name}-{number}"
        if kind == "markdown":
            book.cells.append(nbformat.v4.new_markdown_cell(join_lines(source), id=name))
        else:
            book.cells.append(nbformat.v4.new_code_cell(source, id=name))
    nbformat.validate(book)
    return str(nbformat.writes(book)) + "\n"


def _language_cell(language: Language) -> str:
    return f'import os\n\nos.environ["ZOO_LANG"] = "{language}"  # the language of what is printed'


def _show(picture: str) -> str:
    return (
        "from pathlib import Path\n\nfrom IPython.display import Image\n\n"
        'output = Path(os.environ.get("ZOO_LESSON_OUTPUT") or "lesson-output")\n'
        f'Image(output / "{picture}")'
    )
