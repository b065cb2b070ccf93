"""Write `weights/README.md`, and the tables and what commands print of READMEs and guides.

    python benchmarks/tables.py            # write
    python benchmarks/tables.py --check    # say whether they are up to date; exit 1 if not

The numbers come from the cards and from `benchmarks/results/`.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import robustness
import variants

from zoo.bundle.card import ONNX, Card
from zoo.bundle.folder import Bundle, shipped

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
#: Commands that print the same each time, as the guides show.
SHOWN = ("list", "info cnn", "evaluate cnn", "verify")
HEADERS = {
    "en": (
        "model", "network", "parameters", "test", "notes", "robustness", "ONNX kB", "ms",
        "rows/s", "learns from",
    ),
    "zh": (
        "模型", "网络", "参数", "测试", "讲义", "稳健性", "ONNX kB", "毫秒", "行/秒", "训练数据",
    ),
}  # fmt: skip
READMES = {"en": "README.md", "zh": "README.zh-CN.md"}
#: The steps of benchmarks/recipes.py.
STEPS_ZH = {
    "notes": "讲义",
    "AdamW, one-cycle": "AdamW 与 one-cycle",
    "20 epochs": "20 轮",
    "best epoch": "取最好的一轮",
    "averaging, weight decay": "权重平均与权重衰减",
    "deformed digits": "变形的数字",
    "teacher": "教师",
}
NAMES = {
    "zoo": "`zoo serve`",
    "triton": "Triton, Python backend",
    "pytriton": "Triton, pytriton",
    "mlserver": "MLServer",
    "litserve": "LitServe",
    "fastapi": "FastAPI",
}


def main() -> int:
    """Write or check all of them."""
    stale = []
    for path, text in pages().items():
        if not path.exists() or path.read_text() != text:
            stale.append(path.name)
            if "--check" not in sys.argv:
                path.write_text(text)
    print(f"out of date: {', '.join(stale)}" if stale else "tables are up to date")
    return 1 if stale and "--check" in sys.argv else 0


def pages() -> dict[Path, str]:
    """Return what each file should hold."""
    found = {ROOT / "weights" / "README.md": weights_page()}
    for language, readme in READMES.items():
        zh = language == "zh"
        guides = ROOT / "docs" / language / "guides"
        found[ROOT / readme] = filled(ROOT / readme, models=table(HEADERS[language], zh=zh))
        found[guides / "speed.md"] = filled(
            guides / "speed.md",
            servers=servers(zh=zh),
            batch=batch(zh=zh),
            engines=engines(zh=zh),
            training=training(zh=zh),
        )
        found[guides / "from-notes-to-best.md"] = filled(
            guides / "from-notes-to-best.md", walk=walk(zh=zh), notes=notes(zh=zh)
        )
        found[guides / "onnx.md"] = filled(guides / "onnx.md", runtimes=runtimes(zh=zh))
        found[guides / "own-data.md"] = filled(guides / "own-data.md", sets=own_sets(zh=zh))
        for guide in ("tour",):
            found[guides / f"{guide}.md"] = filled(guides / f"{guide}.md")
    return found


def filled(path: Path, **blocks: str) -> str:
    """Return a page with its tables, and with what the commands it shows print."""
    text = path.read_text()
    for block, lines in blocks.items():
        start, end = f"<!-- {block}: make tables -->\n", f"<!-- /{block} -->"
        before, _, rest = text.partition(start)
        text = f"{before}{start}{lines}{end}{rest.partition(end)[2]}"
    for command in SHOWN:
        start = f"```console\n$ zoo {command}\n"
        if start in text:
            before, _, rest = text.partition(start)
            text = f"{before}{start}{printed(command)}```{rest.partition('```')[2]}"
    return text


@functools.cache
def printed(command: str) -> str:
    """Return what a command prints, run in the repository."""
    zoo = Path(sys.executable).with_name("zoo")
    done = subprocess.run(
        [zoo, *command.split()], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return re.sub(r"(?m)^latency .*\n", "", done.stdout)  # measured then and there


def result(name: str) -> Any:
    """Return what a benchmark wrote."""
    return msgspec.json.decode((RESULTS / f"{name}.json").read_bytes())


def table(header: tuple[str, ...], *, zh: bool) -> str:
    """Return the table of models in Markdown; speeds are of one measurement."""
    speeds, notes = measured("model_pages", "models"), measured("recipes", "notes")
    lines = ["| " + " | ".join(header) + " |", "|---|---|--:|--:|--:|--:|--:|--:|--:|---|"]
    for name in shipped():
        bundle = Bundle.open(name)
        card, speed = bundle.card, speeds.get(name)
        numbers = f"{speed['p50_ms']:.3f} | {speed['rows_per_second']:,}" if speed else "— | —"
        size = (bundle.path / ONNX).stat().st_size
        lines.append(
            f"| `{name}` | {card.lesson if zh else card.title} | {card.parameters:,} | "
            f"{_mean(card)} | {_by_notes(card, notes)} | {_robustness(card)} | "
            f"{size / 1000:,.0f} | {numbers} | {_sources(card, zh=zh)} |"
        )
    text = "\n".join(lines) + "\n"
    # Spaces that no line breaks at: a number stays beside its unit, however narrow its column is.
    return re.sub(r" (?=[%±])|(?<=±) |(?<=R2) ", "\u00a0", text)


def measured(name: str, part: str) -> dict[str, Any]:
    """Return a part of what a benchmark wrote, or nothing: the table then has dashes."""
    return dict(result(name)[part]) if (RESULTS / f"{name}.json").exists() else {}


def _by_notes(card: Card, notes: dict[str, Any]) -> str:
    if card.name not in notes:
        return "—"
    value = notes[card.name]["mean"]
    return f"{100 * value:.2f} %" if card.metric == "accuracy" else f"R2 {value:.3f}"


def _sources(card: Card, *, zh: bool) -> str:
    """Say what a model learns from beside the labels."""
    words = []
    if card.recipe.teacher:
        teacher = Path(card.recipe.teacher).name
        words.append(f"教师 {teacher}" if zh else f"a {teacher} as teacher")
    if card.recipe.elastic or card.recipe.rotate:
        words.append("变形的数字" if zh else "deformed digits")
    return ("、" if zh else ", ").join(words) or ("标签" if zh else "labels")


def walk(*, zh: bool) -> str:
    """Return the walk of `cnn` from the notes to its best recipe, a step a row, in Markdown."""
    if not (RESULTS / "recipes.json").exists():
        return ""
    found = result("recipes")
    head = "| 步骤 | 改变的字段 | 测试 | 增加 |" if zh else "| step | what changes | test | gain |"
    lines, before = [head, "|---|---|--:|--:|"], None
    for step in found["cnn"]:
        changes = ", ".join(f"`{name}={value}`" for name, value in step["changes"].items())
        mean = 100 * step["mean"]
        gain = "" if before is None else f"{mean - before:+.2f}"
        lines.append(
            f"| {STEPS_ZH[step['step']] if zh else step['step']} | {changes} | "
            f"{mean:.2f} ± {100 * step['deviation']:.2f} | {gain} |"
        )
        before = mean
    return "\n".join(lines) + "\n"


def notes(*, zh: bool) -> str:
    """Return each model by the notes' recipe beside its best one, in Markdown."""
    found = measured("recipes", "notes")
    head = "| 模型 | 讲义 | 最好的配方 |" if zh else "| model | as in the notes | best recipe |"
    lines = [head, "|---|--:|--:|"]
    for name in shipped():
        card = Bundle.open(name).card
        lines.append(f"| `{name}` | {_by_notes(card, found)} | {_mean(card)} |")
    return "\n".join(lines) + "\n"


def _mean(card: Card) -> str:
    if card.seeds is None or card.metric != "accuracy":
        return card.score
    return f"{card.score} ({100 * card.seeds.mean:.2f} ± {100 * card.seeds.std:.2f})"


def _robustness(card: Card) -> str:
    return f"{100 * card.robustness.accuracy:.1f} %" if card.robustness else ""


def _where(found: Any, *, zh: bool) -> str:
    """Return the line below a table that says what it was measured on, with which zoo."""
    versions = found["versions"]
    zoo = versions["zoo"]["zoo"] if isinstance(versions["zoo"], dict) else versions["zoo"]
    hardware = found["hardware"].replace("(R)", "")
    if zh:
        return f"\n（{hardware.replace(', ', '，').replace('cores', '核')}，zoo {zoo}）\n"
    return f"\n({hardware}, zoo {zoo})\n"


def servers(*, zh: bool) -> str:
    """Return the table of servers in Markdown: requests/s, latency, the server's CPU time."""
    found = result("serving")
    loads = found["loads"]
    columns = [
        *(("json", connections, "requests_per_second") for connections in ("1", "16", "64")),
        *(("binary", connections, "requests_per_second") for connections in ("16", "64")),
        ("json", "16", "p99_ms"),
        ("json", "16", "server_cpu_s_per_1000"),
    ]
    head = (
        "| 服务器 | JSON，1 个连接 | 16 | 64 | 二进制，16 | 64 | p99 毫秒（16） | "
        "CPU 秒/千次（16） |"
        if zh
        else "| server | JSON, 1 connection | 16 | 64 | binary, 16 | 64 | p99 ms (16) | "
        "CPU s/1,000 (16) |"
    )
    lines = [head, "|---|--:|--:|--:|--:|--:|--:|--:|"]
    for name in loads["json"]:
        cells = []
        for format, connections, figure in columns:
            load = loads[format].get(name, {}).get(connections)
            digits = {"p99_ms": 2, "server_cpu_s_per_1000": 3}.get(figure, 0)
            cells.append(f"{load[figure]['median']:,.{digits}f}" if load else "")
        lines.append(f"| {NAMES[name]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n" + _where(found, zh=zh)


def batch(*, zh: bool) -> str:
    """Return the table of batch inference in Markdown."""
    head = "| 10,000 个 PNG 文件 | 秒（整个进程） | 图像/秒 | 内存峰值 MiB |"
    if not zh:
        head = "| 10,000 PNG files | s, whole process | images/s | peak MiB |"
    lines = [head, "|---|--:|--:|--:|"]
    for name, figures in result("folder")["figures"].items():
        shown = "`zoo predict cnn`" if name == "zoo" else f"ImageFolder, DataLoader{name[11:]}"
        lines.append(
            f"| {shown} | {figures['seconds']['median']:.2f} | "
            f"{figures['images_per_second']['median']:,.0f} | "
            f"{figures['peak_rss_mib']['median']:,.0f} |"
        )
    return "\n".join(lines) + "\n" + _where(result("folder"), zh=zh)


def engines(*, zh: bool) -> str:
    """Return the table of engines in Markdown: `auto`, and the best settings of each alone."""
    head = (
        "| 模型 | 行 | `--engine auto` | 单用 ONNX Runtime | 单用 OpenVINO | 与较快者之比 | 选中 |"
    )
    if not zh:
        head = (
            "| model | rows | `--engine auto` | ONNX Runtime alone | OpenVINO alone | "
            "share of the faster | chosen |"
        )
    lines = [head, "|---|--:|--:|--:|--:|--:|---|"]
    for model, batches in result("engines")["models"].items():
        for rows, found in batches.items():
            speeds = found["rows_per_second"]
            best = {
                engine: max(v["median"] for k, v in speeds.items() if k.startswith(engine))
                for engine in ("zoo", "ONNX Runtime", "OpenVINO")
            }
            engine, file, threads = found["auto"].split()
            kind = "int8" if "int8" in file else "fp32"
            name = "OpenVINO" if engine == "openvino" else f"ONNX Runtime, {kind}"
            lines.append(
                f"| {model} | {rows} | "
                + " | ".join(f"{speed:,.0f}" for speed in best.values())
                + f" | {found['ours_to_best']:.2f} | {name}, {threads} |"
            )
    return "\n".join(lines) + "\n" + _where(result("engines"), zh=zh)


def own_sets(*, zh: bool) -> str:
    """Return the table of data sets that do not ship, each taken the whole way, in Markdown."""
    head = "| 命令 | 测试 | 测试行数 | 秒 | 导出 | 部署 |"
    if not zh:
        head = "| command | test | test rows | s | exported | served |"
    lines = [head, "|---|--:|--:|--:|---|---|"]
    yes, no = ("是", "否") if zh else ("yes", "no")
    for each in result("own_data")["sets"].values():
        if "problem" in each:
            lines.append(f"| `{each['command']}` | {each['problem']} |  |  |  |  |")
            continue
        lines.append(
            f"| `{each['command']}` | {each['test']} | {each['rows']:,} | {each['seconds']:.0f} | "
            f"{yes if each['exported'] else no} | {yes if each['served'] else no} |"
        )
    return "\n".join(lines) + "\n"


def runtimes(*, zh: bool) -> str:
    """Return the table of the files in other runtimes in Markdown, and why some do not run."""
    found: dict[str, dict[str, dict[str, Any]]] = result("runtimes")["runtimes"]
    forms = list(dict.fromkeys(form for tried in found.values() for form in tried))
    heads = {
        "without preprocessing, one row": "fp32，不含预处理，一行",
        "fp32, opset 17": "fp32，opset 17",
    }
    shown = [heads.get(form, form) for form in forms] if zh else forms
    lines = ["| " + " | ".join(["运行时" if zh else "runtime", *shown]) + " |"]
    lines.append("|---" * (1 + len(forms)) + "|")
    reasons: dict[str, list[str]] = {}
    for runtime, tried in found.items():
        cells = []
        for form, heading in zip(forms, shown, strict=True):
            models = tried.get(form, {})
            good = {name: one for name, one in models.items() if isinstance(one, float)}
            cells.append(f"{len(good)} / {len(models)}" if models else "")
            if good and max(good.values()):
                cells[-1] += f" ({max(good.values()):.0e})"
            if failed := [name for name in models if name not in good]:
                why = str(models[failed[0]]).replace("|", "/")
                which = "" if len(failed) == len(models) else f": {', '.join(failed)}"
                reasons.setdefault(f"{runtime}: `{why}`", []).append(heading + which)
        lines.append(f"| {runtime} | " + " | ".join(cells) + " |")
    notes = [f"- {reason} ({'; '.join(where)})" for reason, where in reasons.items()]
    return "\n".join([*lines, "", *notes]) + "\n"


def training(*, zh: bool) -> str:
    """Return the table of training in Markdown."""
    found = result("training")
    speeds, reached = found["images_per_second_at_batch_64"], found["until_test_accuracy"]
    head = "| 训练 `cnn` | 图像/秒（批 64） |" if zh else "| training `cnn` | images/s, batch 64 |"
    late = "没有达到" if zh else "not reached"
    rows = [f"| `zoo train` | {speeds['zoo']['median']:,.0f} |"]
    rows.append(f"| `zoo train`, bf16 | {speeds['zoo, bf16']['median']:,.0f} |  |  |")
    rows.append(
        f"| {'教程的写法' if zh else 'the tutorial'} | {speeds['tutorial']['median']:,.0f} |"
    )
    for target, each in reached.items():
        share = f"{100 * float(target):g} %"
        head += f" 达到测试 {share} 的训练秒数 |" if zh else f" s of training to {share} test |"
        theirs = sorted(each["tutorial_seconds"], key=lambda one: one or 1e9)
        middle = theirs[len(theirs) // 2]
        rows[0] += f" {each['zoo']['seconds']['median']:.1f} |"
        rows[2] += f" {middle:.1f} |" if middle else f" {late} |"
    lines = [head, "|---" + "|--:" * (1 + len(reached)) + "|", *rows]
    return "\n".join(lines) + "\n" + _where(found, zh=zh)


def weights_page() -> str:
    """Return `weights/README.md`."""
    lines = [
        "# The shipped bundles",
        "",
        "Generated by `make tables` from the cards. One folder for each model: `model.safetensors`",
        "(torch), `model.onnx` (ONNX Runtime), `card.json` (metrics, recipe, provenance),",
        "`log.jsonl`, `curves.png`, `confusion.png`. `make weights` trains them again,",
        "`zoo verify` measures them again.",
        "",
        "| model | lesson | data | parameters | test | robustness | validation | epoch |"
        " training s | parity | ONNX kB | trained by |",
        "|---|---|---|--:|---|--:|---|--:|--:|--:|--:|---|",
    ]
    for name in shipped():
        bundle = Bundle.open(name)
        card = bundle.card
        test = ", ".join(f"{key} {value:.4f}" for key, value in card.test.items())
        validation = ", ".join(f"{key} {value:.4f}" for key, value in card.validation.items())
        size = (bundle.path / ONNX).stat().st_size
        lines.append(
            f"| [{name}]({name}/card.json) | {card.lesson} | {card.dataset.name} | "
            f"{card.parameters:,} | {test} | {_robustness(card)} | {validation} | "
            f"{card.training.epoch} | {card.training.seconds:.1f} | "
            f"{card.parity.max_abs_difference:.1e} | {size / 1000:,.0f} | "
            f"`{card.training.command}` |"
        )
    lines += ["", "Over several seeds:", "", *seeds()]
    card = Bundle.open("cnn").card
    versions = ", ".join(f"{name} {value}" for name, value in card.training.versions.items())
    lines += [
        "",
        "*test* and *validation*: accuracy (a fraction) and mean cross-entropy, or squared error,",
        "absolute error and R2, over the whole split. *parity*: the largest absolute difference",
        "between the first output of torch and of ONNX Runtime on the CPU over the test set.",
        "*robustness*: see below.",
        "",
        f"Trained on {card.training.hardware}; {versions}. License of the weights: {card.license}.",
        "",
        *robustness_section(),
        "## Variants",
        "",
        "`zoo export MODEL --precision fp16|int8` makes them, `python benchmarks/variants.py` has",
        "measured them: score on the whole test set, size of the file, rows/s on the CPU.",
        "",
        *variants.table().splitlines(),
        "",
    ]
    return "\n".join(lines)


def robustness_section() -> list[str]:
    """Return the part of `weights/README.md` about digits that people draw and photograph."""
    found = next(
        card.robustness for name in shipped() if (card := Bundle.open(name).card).robustness
    )
    return [
        "## Digits as people draw and photograph them",
        "",
        f"The battery of `tests/battery.py`: {found.pictures:,} pictures, the ten digits by eight",
        "hands (strokes of a pen) and in nine free fonts, each under",
        f"{found.conditions} conditions, all of them generated. Accuracy in percent with",
        "`--prepare none`, which only resizes the picture, → with `--prepare auto`, the default;",
        "`python benchmarks/robustness.py` measures both. *robustness* above and on the cards is",
        "the mean over the conditions. No weights were trained or selected by the battery, but the",
        "preparation was developed on it, so digits of other hands are read somewhat less well.",
        "",
        *robustness.table().splitlines(),
        "",
    ]


def seeds() -> list[str]:
    """Return the table of test figures over the seeds of each recipe."""
    lines = ["| model | mean | standard deviation | seeds | shipped |", "|---|--:|--:|---|---|"]
    for name in shipped():
        found = Bundle.open(name).card.seeds
        if found is None:
            continue
        share, unit = (100, " %") if found.metric == "accuracy" else (1, "")
        each = ", ".join(
            f"{seed}: {share * value:.{2 if unit else 3}f}"
            for seed, value in zip(found.seeds, found.values, strict=True)
        )
        lines.append(
            f"| {name} | {share * found.mean:.3f}{unit} | {share * found.std:.3f} | {each} | "
            f"{found.shipped}, {found.why} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
