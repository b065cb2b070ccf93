"""The site: the pages that are generated at each build, and mkdocs."""

from __future__ import annotations

import logging
from pathlib import Path

from docs.generate.words import LANGUAGES, ROOT


def generate(docs: Path) -> None:
    """Write the pages of models and of the reference, and the models' pictures, into `docs`."""
    from docs.generate import models, reference

    models.draw(docs / "models")
    for language in LANGUAGES:
        pages = models.pages(language) | reference.pages(language)
        for name, text in pages.items():
            path = docs / language / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


def build(docs: Path, site: Path) -> int:
    """Build `site` from `docs` with mkdocs; a warning is an error. Return 0, or 1 with errors."""
    import jieba  # without it, mkdocs-material would index Chinese by the clause
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    jieba.setLogLevel(logging.WARNING)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    config = load_config(
        str(ROOT / "mkdocs.yml"), docs_dir=str(docs), site_dir=str(site), strict=True
    )
    config.plugins.on_startup(command="build", dirty=False)
    try:
        build(config)
    except Abort as error:
        return int(error.code or 1)
    finally:
        config.plugins.on_shutdown()
    return 0
