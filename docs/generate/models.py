"""A page for each shipped model, and the table of all."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from docs.generate import cost, graph, snippets
from docs.generate.words import ROOT, Language, pick
from zoo import plots
from zoo.bundle.card import ONNX, Card, figure
from zoo.bundle.folder import Bundle, shipped
from zoo.evaluation.evaluate import dataset, evaluate

#: What benchmarks/model_pages.py wrote; there is a dash where a model was not measured.
_MEASURED = ROOT / "benchmarks" / "results" / "model_pages.json"
_DASH = "—"


def draw(folder: Path) -> None:
    """Draw each model's graph, and what it answers on the whole test set, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in shipped():
        bundle = Bundle.open(name)
        drawing = graph.svg(_onnx(name), f"{name}: {ONNX}")
        (folder / f"{name}.svg").write_text(drawing, encoding="utf-8")
        result = evaluate(bundle, device="cpu")
        score = figure(bundle.card.metric, result.metrics[bundle.card.metric])
        path, title = folder / f"{name}-answers.png", f"{name} {score}"
        if result.confusion:
            plots.confusion(result.confusion, bundle.card.labels, path, title)
        else:
            targets = dataset(bundle).test.targets
            plots.predictions(result.outputs[:, 0], targets, path, title)


def pages(language: Language) -> dict[str, str]:
    """Return file name (models/NAME.md) and Markdown of each page."""
    texts = {"models/index.md": _index(language)}
    for name in shipped():
        texts[f"models/{name}.md"] = _page(Bundle.open(name), language)
    return texts


@functools.cache
def _onnx(name: str) -> Any:
    import onnx

    return onnx.load_from_string(Bundle.open(name).read(ONNX))


def _measured() -> dict[str, Any]:
    """Return the benchmark's result, empty where it was not run."""
    if not _MEASURED.is_file():
        return {"models": {}}
    result: dict[str, Any] = json.loads(_MEASURED.read_text(encoding="utf-8"))
    return result


def _index(language: Language) -> str:
    head = pick(
        language,
        "| 模型 | 网络 | 数据 | 参数 | 乘加 | 测试成绩 | 行/秒 |",
        "| model | network | data | parameters | multiply-adds | test score | rows/s |",
    )
    lines = [
        pick(language, "# 模型", "# Models"),
        "",
        pick(
            language,
            "每个模型都训练过、测量过、导出为 ONNX，可以直接部署。成绩在整个测试集上测得；"
            "选择配方和轮次时没有用过测试集。",
            "Each model is trained, measured, exported to ONNX and ready to serve. Scores are "
            "those of the whole test set, which chose neither recipe nor epoch.",
        ),
        "",
        head,
        "|---|---|---|--:|--:|--:|--:|",
    ]
    for name in shipped():
        card = Bundle.open(name).card
        title = pick(language, card.lesson, card.title)
        speed = _measured()["models"].get(name)
        lines.append(
            f"| [{name}]({name}.md) | {title} | {card.dataset.name} | {card.parameters:,} | "
            f"{cost.multiply_adds(_onnx(name)):,} | {card.score} | "
            f"{speed['rows_per_second']:,} |"
            if speed
            else f"| [{name}]({name}.md) | {title} | {card.dataset.name} | {card.parameters:,} | "
            f"{cost.multiply_adds(_onnx(name)):,} | {card.score} | {_DASH} |"
        )
    return "\n".join(lines) + "\n"


def _page(bundle: Bundle, language: Language) -> str:
    card = bundle.card
    parts = [
        f"# {card.name}",
        pick(language, f"{card.lesson}（{card.title}）。", f"{card.title}. {card.limits}"),
        pick(language, "## 网络", "## The network"),
        f"![{pick(language, '计算图', 'graph')}](../../models/{card.name}.svg)",
        pick(
            language,
            f"由 `{ONNX}` 画出；方框里是算子和它输出的形状，`batch` 是任意批大小。预处理也在图里。",
            f"Drawn from `{ONNX}`: in each box an operation and the shape of its output; `batch` "
            "is any batch size. The preprocessing is in the graph.",
        ),
        _tensors(card, language),
        pick(language, "## 数字", "## The figures"),
        _figures(bundle, language),
        _hardware(language),
        pick(language, "## 测试集上的回答", "## Its answers on the test set"),
        f"![{pick(language, '测试集上的回答', 'answers on the test set')}]"
        f"(../../models/{card.name}-answers.png)",
        pick(language, "## 使用", "## How to use it"),
        "Python:" if language == "en" else "Python：",
        f"```python\n{snippets.python(card)}```",
        pick(language, "只用 ONNX Runtime：", "ONNX Runtime alone:"),
        f"```python\n{snippets.onnxruntime(card)}```",
        pick(
            language,
            f"HTTP，先运行 `zoo serve {card.name}`（图片来自 `zoo demo`）："
            if card.labels and card.inputs[0].dtype == "uint8"
            else f"HTTP，先运行 `zoo serve {card.name}`：",
            f"HTTP, after `zoo serve {card.name}` (the picture is of `zoo demo`):"
            if card.labels and card.inputs[0].dtype == "uint8"
            else f"HTTP, after `zoo serve {card.name}`:",
        ),
        f"```sh\n{snippets.curl(card)}```",
        pick(language, "## 文件", "## The files"),
        _files(bundle, language),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tensors(card: Card, language: Language) -> str:
    lines = [
        pick(language, "| | 名称 | 类型 | 形状 |", "| | name | dtype | shape |"),
        "|---|---|---|---|",
    ]
    roles = [(pick(language, "输入", "input"), card.inputs)]
    roles.append((pick(language, "输出", "output"), card.outputs))
    for role, tensors in roles:
        for tensor in tensors:
            shape = ", ".join(map(str, tensor.shape))
            lines.append(f"| {role} | `{tensor.name}` | {tensor.dtype} | [{shape}] |")
    return "\n".join(lines)


def _figures(bundle: Bundle, language: Language) -> str:
    card, model = bundle.card, _onnx(bundle.card.name)
    speed = _measured()["models"].get(card.name)
    rows = [
        (
            pick(language, "测试成绩", "test score"),
            f"{card.score} {card.spread}".replace("+-", "±").strip(),
        ),
        (pick(language, "数据", "data"), card.dataset.name),
        (pick(language, "参数", "parameters"), f"{card.parameters:,}"),
        (
            pick(language, "乘加（每行输入）", "multiply-adds a row"),
            f"{cost.multiply_adds(model):,}",
        ),
        (
            "ONNX",
            f"opset {model.opset_import[0].version}, IR {model.ir_version}",
        ),
        (
            pick(language, "批 1 的延迟，p50 / p99", "latency at batch 1, p50 / p99"),
            f"{speed['p50_ms']:.3f} / {speed['p99_ms']:.3f} ms" if speed else _DASH,
        ),
        (
            pick(language, "最高吞吐", "best throughput"),
            pick(
                language,
                f"{speed['rows_per_second']:,} 行/秒（批 {speed['batch']}）",
                f"{speed['rows_per_second']:,} rows/s (batch {speed['batch']})",
            )
            if speed
            else _DASH,
        ),
        (
            pick(language, "内存（整个进程）", "memory, whole process"),
            f"{speed['peak_rss_mib']} MiB" if speed else _DASH,
        ),
        (
            pick(language, "与 torch 的最大差", "largest difference from torch"),
            f"{card.parity.max_abs_difference:.1e}",
        ),
    ]
    if (found := card.robustness) is not None:
        words = pick(
            language,
            f"{100 * found.accuracy:.1f} %（{found.pictures:,} 张手写、印刷、拍摄的数字，"
            f"{found.conditions} 种条件；不做准备：{100 * found.plain:.1f} %）",
            f"{100 * found.accuracy:.1f} % ({found.pictures:,} digits drawn, printed and "
            f"photographed, {found.conditions} conditions; without preparation "
            f"{100 * found.plain:.1f} %)",
        )
        rows.insert(1, (pick(language, "稳健性", "robustness"), words))
    rows.append((pick(language, "训练命令", "trained by"), f"`{card.training.command}`"))
    lines = ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]
    return "\n".join(lines)


def _hardware(language: Language) -> str:
    if not (found := _measured()).get("hardware"):
        return ""
    return pick(
        language,
        f"延迟、吞吐、内存出自同一次测量：`{found['command']}`，{found['hardware']}。",
        f"Latency, throughput and memory are of one measurement: `{found['command']}`, "
        f"{found['hardware']}.",
    )


def _files(bundle: Bundle, language: Language) -> str:
    lines = [
        pick(language, "| 文件 | 字节 | SHA-256 |", "| file | bytes | SHA-256 |"),
        "|---|--:|---|",
    ]
    for name, digest in bundle.card.files.items():
        size = (bundle.path / name).stat().st_size
        target = f"../../../weights/{bundle.card.name}/{name}"
        lines.append(f"| [{name}]({target}) | {size:,} | `{digest}` |")
    entry = f"zoo/models/{bundle.card.name}.py"
    source = pick(language, "网络与配方的代码", "Network and recipe")
    colon = pick(language, "：", ": ")
    return "\n".join([*lines, "", f"{source}{colon}[`{entry}`](../../../{entry})"])
