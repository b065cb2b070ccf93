"""The reference: commands, recipe fields, the Python API, the server's endpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from docs.generate.words import ROOT, Language, pick
from zoo.fields import fields
from zoo.language import chinese

#: What the page of the Python API shows, in this order.
_API = (
    "zoo.list_models", "zoo.card", "zoo.network.pretrained.load",
    "zoo.export.network.export_network",
    "zoo.runtime.session.Session", "zoo.runtime.session.Prediction", "zoo.bundle.folder.Bundle",
    "zoo.bundle.card.Card", "zoo.entry.Entry", "zoo.recipe.Recipe", "zoo.spec.ImageSpec",
    "zoo.spec.TableSpec", "zoo.spec.TensorSpec", "zoo.errors",
)  # fmt: skip
#: The summaries of openapi.json in Chinese.
SUMMARIES = {
    "Statistics of all models that are loaded": "所有已加载模型的统计",
    "Statistics of the model": "模型的统计",
    "The model's configuration": "模型的配置",
    "The models and their states": "各模型及其状态",
    "Load the model (zoo serve --model-control explicit)": "加载模型（--model-control explicit）",
    "Unload the model (zoo serve --model-control explicit)": "卸载模型（--model-control explicit）",
    "The settings of trace": "跟踪的设置",
    "The same settings; others are refused": "相同的设置；其他的会被拒绝",
    "The settings of logging": "日志的设置",
    "The system shared memory regions: none": "系统共享内存区域：无",
    "The cuda shared memory regions: none": "CUDA 共享内存区域：无",
    "Predict (KServe V1)": "预测（KServe V1）",
    "The icon": "图标",
    "Server metadata": "服务器的元数据",
    "Does the server run?": "服务器在运行吗？",
    "Does the server take requests?": "服务器接受请求吗？",
    "Metadata: inputs, outputs, versions": "元数据：输入、输出、版本",
    "Is the model ready?": "模型就绪了吗？",
    "Infer (V2), with the binary tensor extension": "推理（V2），支持二进制张量扩展",
    "Labels and probabilities of one image (the body) or several (a form)": "一张图片（请求体）"
    "或多张图片（表单）的标签和概率",
    "The models that are served, in short": "所服务模型的概要",
    "The model card": "模型卡",
    "Prometheus metrics": "Prometheus 指标",
    "This document": "这份 OpenAPI 文档",
    "This document as a page": "这份文档的网页",
    "Draw a digit": "画一个数字",
}


def pages(language: Language) -> dict[str, str]:
    """Return file name (reference/NAME.md) and Markdown of each page."""
    return {
        "reference/index.md": _index(language),
        "reference/commands.md": _commands(language),
        "reference/recipe.md": _recipe(language),
        "reference/python.md": _python(language),
        "reference/protocol.md": _protocol(language),
    }


def _index(language: Language) -> str:
    return pick(
        language,
        "# 参考\n\n"
        "- [命令](commands.md)：`zoo` 的每个命令、参数和选项。\n"
        "- [配方](recipe.md)：训练的全部字段。\n"
        "- [Python](python.md)：公开的类和函数。\n"
        "- [协议](protocol.md)：`zoo serve` 的地址，V2 协议。\n",
        "# Reference\n\n"
        "- [Commands](commands.md): every command of `zoo`, its arguments and options.\n"
        "- [Recipe](recipe.md): all fields of a training.\n"
        "- [Python](python.md): the public classes and functions.\n"
        "- [Protocol](protocol.md): the addresses of `zoo serve`, the V2 protocol.\n",
    )


def _commands(language: Language) -> str:
    """Ask a process of its own: a program's language is that in which it started."""
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate.commands"],
        cwd=ROOT, env=os.environ | {"ZOO_LANG": language}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    title = pick(language, "# 命令", "# Commands")
    text = pick(
        language,
        "退出码：0 完成；1 失败；2 用法错误；3 部分输入失败，其余已写出；4 没有所要求的设备；"
        "5 核对失败；130 被中断。",
        "Exit codes: 0 done; 1 failed; 2 usage; 3 some inputs failed, the rest is written; 4 the "
        "device asked for is not available; 5 verification failed; 130 interrupted.",
    )
    return f"{title}\n\n{text}\n\n{done.stdout}"


def _recipe(language: Language) -> str:
    lines = [
        pick(language, "# 配方", "# Recipe"),
        "",
        pick(
            language,
            "配方是一次训练的完整描述，由 `zoo/models/` 中的条目给出，写进每张模型卡；"
            "`zoo train MODEL --set FIELD=VALUE` 改其中一个字段。",
            "A recipe describes a training completely. The entry in `zoo/models/` declares it, "
            "every card records it, and `zoo train MODEL --set FIELD=VALUE` changes a field.",
        ),
        "",
        pick(language, "| 字段 | 类型 | 默认 | 说明 |", "| field | type | default | what it is |"),
        "|---|---|---|---|",
    ]
    for field in fields():
        text = pick(language, chinese(field.help), field.help)
        default = f"`{field.default}`" if field.default else "—"
        lines.append(f"| `{field.name}` | {field.type} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def _python(language: Language) -> str:
    text = pick(
        language,
        "`import zoo` 既不导入 torch，也不导入 onnxruntime；下面的类和函数都可以从 `zoo` 导入"
        "（异常也是）。说明与代码中的一致，为英文。",
        "`import zoo` imports neither torch nor onnxruntime. All of these, the errors too, can be "
        "imported from `zoo`.",
    )
    parts = [pick(language, "# Python 接口", "# Python API"), text]
    return "\n\n".join([*parts, *(f"::: {name}" for name in _API)]) + "\n"


def _protocol(language: Language) -> str:
    path = ROOT / "serve" / "http" / "openapi.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lines = [
        pick(language, "# 协议", "# Protocol"),
        "",
        pick(
            language,
            "`zoo serve` 说 [Open Inference Protocol V2]"
            "(https://github.com/kserve/open-inference-protocol)，HTTP 和 gRPC 都可以，"
            "与 Triton、KServe 相同；另有 `/v1/predict` 收图片文件。下表出自 "
            "[`openapi.json`](../../../serve/http/openapi.json)，运行中的服务器在 `/openapi.json` "
            "也给出它。",
            "`zoo serve` speaks the [Open Inference Protocol V2]"
            "(https://github.com/kserve/open-inference-protocol) over HTTP and gRPC, as Triton and "
            "KServe do; in addition, `/v1/predict` takes image files. The table is of "
            "[`openapi.json`](../../../serve/http/openapi.json), which a running server has at "
            "`/openapi.json` too.",
        ),
        "",
        pick(
            language,
            "| 地址 | 用途 | 请求体 | 状态码 |",
            "| address | what it is for | body | status |",
        ),
        "|---|---|---|---|",
    ]
    for address, item in document["paths"].items():
        for method in ("get", "post"):
            if (operation := item.get(method)) is None:
                continue
            summary = operation["summary"]
            text = pick(language, SUMMARIES[summary], summary) if language == "zh" else summary
            body = ", ".join(
                f"`{kind}`" for kind in operation.get("requestBody", {}).get("content", {})
            )
            status = ", ".join(operation["responses"])
            lines.append(f"| {method.upper()} `{address}` | {text} | {body} | {status} |")
    lines += ["", pick(language, "## 数据", "## The data"), ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", f"```json\n{json.dumps(schema, indent=1)}\n```", ""]
    return "\n".join(lines)
