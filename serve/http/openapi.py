"""The server's OpenAPI document, `openapi.json` beside this file, and the page that shows it."""

from __future__ import annotations

import html
from pathlib import Path
from string import Template
from typing import Any

import msgspec

from serve.http.guard import HEALTH
from zoo.version import __version__

_FOLDER = Path(__file__).parent


def document(models: list[str], root_path: str = "") -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for the models that are served, below a prefix."""
    document: dict[str, Any] = msgspec.json.decode((_FOLDER / "openapi.json").read_bytes())
    document["info"]["version"] = __version__
    document["components"]["parameters"]["model"]["schema"]["enum"] = models
    for path, item in document["paths"].items():
        for method in ("get", "post"):
            if operation := item.get(method):
                _add_refusals(operation, method, is_open=path in HEALTH)
    if root_path:
        document["servers"] = [{"url": root_path}]
    return document


def _add_refusals(operation: dict[str, Any], method: str, *, is_open: bool) -> None:
    """Name the answers that come before a request is looked at; see `serve.http.guard`."""
    refusals = ["400", *([] if is_open else ["401"]), *(["403"] if method == "post" else []), "431"]
    for status in refusals:
        operation["responses"].setdefault(status, {"$ref": f"#/components/responses/{status}"})
    operation["responses"] = dict(sorted(operation["responses"].items()))


def page(models: list[str]) -> str:
    """Return the document as a page to read."""
    rows = []
    for path, item in document(models)["paths"].items():
        for method in ("get", "post"):
            if operation := item.get(method):
                kinds = ", ".join(operation.get("requestBody", {}).get("content", {}))
                body = f"<br>body: {html.escape(kinds)}" if kinds else ""
                rows.append(
                    f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
                    f"<td>{html.escape(operation['summary'])}{body}</td>"
                    f"<td>{', '.join(operation['responses'])}</td></tr>"
                )
    names = [html.escape(name) for name in models]
    template = Template((_FOLDER / "docs.html").read_text(encoding="utf-8"))
    return template.substitute(models=", ".join(names), first=names[0], rows="".join(rows))
