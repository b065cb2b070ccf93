"""The OpenAPI document of the server, and the page that shows it."""

from __future__ import annotations

import html
from typing import Any

from serve import protocol
from zoo.version import __version__

_ERRORS = {
    "400": "Something in the request is wrong; the message says what was expected.",
    "404": "No such model, version or address.",
    "405": "Another method is expected.",
    "413": "The body is too large.",
    "415": "Another Content-Type or Content-Encoding is expected.",
    "503": "Overloaded or stopping; come again after Retry-After seconds.",
}


def document(models: list[str]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for the models that are served."""
    model = {
        "name": "model", "in": "path", "required": True,
        "schema": {"type": "string", "enum": models},
    }  # fmt: skip
    version = {
        "name": "version", "in": "path", "required": True,
        "schema": {"type": "string", "enum": [protocol.VERSION]},
    }  # fmt: skip
    metadata = _get("Metadata: inputs, outputs, versions", "ModelMetadata", "404")
    ready = _get("Is the model ready?", "Ready", "404", "503")
    infer = _infer()
    paths: dict[str, Any] = {
        "/v2": {"get": _get("Server metadata", "ServerMetadata")},
        "/v2/health/live": {"get": _get("Does the server run?", "Live")},
        "/v2/health/ready": {"get": _get("Does the server take requests?", "Ready", "503")},
    }
    for base, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, version]),
    ):
        paths[base] = {"parameters": parameters, "get": metadata}
        paths[f"{base}/ready"] = {"parameters": parameters, "get": ready}
        paths[f"{base}/infer"] = {"parameters": parameters, "post": infer}
    paths |= {
        "/v1/predict/{model}": {"parameters": [model], "post": _predict()},
        "/v1/models": {"get": _get("What is served, in short", "Models")},
        "/v1/models/{model}": {"parameters": [model], "get": _get("The card", "Card", "404")},
        "/metrics": {"get": _plain("Prometheus metrics", "text/plain")},
        "/openapi.json": {"get": _get("This document", "Card")},
        "/docs": {"get": _plain("This document, to read", "text/html")},
        "/": {"get": _plain("Draw a digit", "text/html")},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "torch-tutorial-zoo",
            "version": __version__,
            "description": "The Open Inference Protocol V2, and images in, labels out.",
        },
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _get(summary: str, schema: str, *errors: str) -> dict[str, Any]:
    return {"summary": summary, "responses": _responses(_ref(schema), *errors)}


def _plain(summary: str, kind: str) -> dict[str, Any]:
    content = {kind: {"schema": {"type": "string"}}}
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": content}}}


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _responses(schema: dict[str, Any], *errors: str) -> dict[str, Any]:
    def answer(text: str, content: dict[str, Any]) -> dict[str, Any]:
        return {"description": text, "content": {"application/json": {"schema": content}}}

    failures = {code: answer(_ERRORS[code], _ref("Error")) for code in errors}
    return {"200": answer("OK", schema), **failures}


def _infer() -> dict[str, Any]:
    responses = _responses(_ref("InferResponse"), "400", "404", "413", "415", "503")
    binary = {"schema": {"type": "string", "format": "binary"}}
    responses["200"]["content"]["application/octet-stream"] = binary
    return {
        "summary": "Infer (V2); the binary tensor extension is understood",
        "parameters": [
            {
                "name": "Inference-Header-Content-Length", "in": "header", "required": False,
                "schema": {"type": "integer", "minimum": 0},
                "description": "Bytes of JSON before the binary tensors; 0: a raw tensor.",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferRequest")},
                "application/octet-stream": binary,
            },
        },
        "responses": responses,
    }  # fmt: skip


def _predict() -> dict[str, Any]:
    file = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "type": "object",
        "additionalProperties": {"type": "string", "format": "binary"},
        "minProperties": 1,
    }
    return {
        "summary": "Labels and probabilities of one image (the body) or several (a form)",
        "parameters": [
            {
                "name": "invert", "in": "query", "required": False,
                "schema": {"type": "string", "enum": ["auto", "yes", "no"], "default": "auto"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": file,
                "application/octet-stream": file,
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": _responses(_ref("Predictions"), "400", "404", "413", "415", "503"),
    }  # fmt: skip


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


def _schemas() -> dict[str, Any]:
    text, number, integer = {"type": "string"}, {"type": "number"}, {"type": "integer"}
    anything = {"type": "object"}

    def array(items: dict[str, Any], **rest: Any) -> dict[str, Any]:
        return {"type": "array", "items": items, **rest}

    tensor = {"name": text, "datatype": text, "shape": array(integer)}
    named = ["name", "datatype", "shape"]
    wanted = _object(["name"], name=text, parameters=anything)
    given = _object(named, **tensor, data=array({}), parameters=anything)
    found = _object(named, **tensor, data=array(number), parameters=anything)
    prediction = _object(
        ["name"], name=text, label=text, probability=number, error=text,
        probabilities={"type": "object", "additionalProperties": number},
    )  # fmt: skip
    return {
        "Error": _object(["error"], error=text),
        "Live": _object(["live"], live={"type": "boolean"}),
        "Ready": _object(["ready"], ready={"type": "boolean"}, name=text),
        "ServerMetadata": _object(
            ["name", "version", "extensions"], name=text, version=text, extensions=array(text)
        ),
        "ModelMetadata": _object(
            ["name", "versions", "platform", "inputs", "outputs"],
            name=text, versions=array(text), platform=text,
            inputs=array(_object(named, **tensor)), outputs=array(_object(named, **tensor)),
        ),
        "InferRequest": _object(
            ["inputs"], id=text, inputs=array(given, minItems=1, maxItems=1),
            outputs=array(wanted), parameters=anything,
        ),
        "InferResponse": _object(
            ["model_name", "model_version", "outputs"],
            model_name=text, model_version=text, id=text, outputs=array(found),
        ),
        "Predictions": _object(["model", "predictions"], model=text, predictions=array(prediction)),
        "Models": array(_object(["name", "title", "task", "score"])),
        "Card": anything,
    }  # fmt: skip


def page(models: list[str]) -> str:
    """Return the document as a page to read."""
    parts = []
    for path, item in document(models)["paths"].items():
        for method in ("get", "post"):
            if operation := item.get(method):
                codes = ", ".join(operation["responses"])
                kinds = ", ".join(operation.get("requestBody", {}).get("content", {}))
                body = f"<br>body: {html.escape(kinds)}" if kinds else ""
                parts.append(
                    f"<tr><td>{method.upper()}</td><td><code>{html.escape(path)}</code></td>"
                    f"<td>{html.escape(operation['summary'])}{body}</td><td>{codes}</td></tr>"
                )
    image = f"curl --data-binary @digit.png localhost:8000/v1/predict/{models[0]}"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>API · torch-tutorial-zoo</title><link rel="stylesheet" href="page/style.css">
<main><h1>API</h1>
<p>The Open Inference Protocol V2 over HTTP, and a short way for image files. Errors are always
<code>{{"error": "..."}}</code>. Models: {", ".join(models)}. <a href="openapi.json">OpenAPI</a>,
<a href="./">the page to draw on</a>.</p>
<pre>{html.escape(image)}</pre>
<table><tr><th>method</th><th>path</th><th>what</th><th>answers</th></tr>{"".join(parts)}</table>
</main></html>
"""
