"""What mkdocs calls while it builds: the navigation, formulas, links to files outside of docs/."""

from __future__ import annotations

import logging
import posixpath
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.utils import get_relative_url

from docs.generate import chinese, formulas, navigation
from docs.generate.words import LANGUAGES, ROOT

log = logging.getLogger("mkdocs.plugins.zoo")
#: [text](target), but no picture.
_LINK = re.compile(r"(?<!!)\[([^\]\n]*)\]\((\.\./[^)\s]+)\)")
#: Where the site has copies of files of the repository.
_COPIES = "files"


def on_config(config: Any) -> Any:
    """Set the navigation: its pages are those of the lessons and models that there are."""
    config.nav = navigation.navigation()
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Point links to files of the repository, such as scripts and notebooks, at copies of them.

    Pages link to them by relative paths, which work in the repository too. Links to pages of the
    other language become addresses: mkdocs builds one language at a time.
    """
    source = Path(page.file.abs_src_path).relative_to(config.docs_dir).as_posix()
    folder = posixpath.dirname(posixpath.join("docs", source))

    def point(match: re.Match[str]) -> str:
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path.startswith("docs/"):
            url = _page_of_other_language(path, source)
        elif (ROOT / path).is_file():
            url = f"{_COPIES}/{path}"
            copy = Path(config.site_dir) / url
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, copy)
        else:
            log.warning(f"{source}: the link {target} leads to no file")
            url = ""
        if not url:
            return match.group()
        relative = get_relative_url(url, page.url) + (f"#{anchor}" if anchor else "")
        return f'<a href="{relative}">{text}</a>'

    return _LINK.sub(point, chinese.join_lines(markdown))


def _page_of_other_language(path: str, source: str) -> str:
    """Return a page's address if its language is not that of `source`, or ""."""
    _, language, *rest = path.split("/")
    if language not in LANGUAGES or source.startswith(f"{language}/") or not path.endswith(".md"):
        return ""
    address = "/".join(rest).removesuffix(".md") + ".html"
    return address if language == LANGUAGES[0] else f"{language}/{address}"


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Set the formulas as MathML."""
    try:
        return formulas.to_mathml(html)
    except ValueError as error:
        log.warning(f"{page.file.src_uri}: {error}")
        return html
