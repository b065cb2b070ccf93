"""The command `zoo`. Each command parses, imports what it needs, makes one call and prints.

stdout is data, stderr is progress and messages. Exit codes: 0 done; 1 failed; 2 usage; 3 some
inputs failed, the rest is written; 4 the device is not available; 5 verification failed;
130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from functools import partial
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from zoo import __version__, language
from zoo.errors import UsageError, VerificationError, ZooError, first_line, needs_extra
from zoo.help import Command, Group, RecipeCommand
from zoo.table import print_table, width

Device = Literal["auto", "cpu", "cuda", "mps"]
#: TensorRT is a provider of ONNX Runtime: torch has no such device.
SessionDevice = Literal["auto", "cpu", "cuda", "tensorrt", "mps"]
#: The engines that need no torch.
SessionEngine = Literal["auto", "onnx", "numpy", "openvino"]


class _Zoo(Group):
    """Turns errors into one line and the right exit code; `--debug` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            self._end(ctx, "interrupted", 130, error)
        except ZooError as error:
            self._end(ctx, str(error), error.exit_code, error)
        except BrokenPipeError:  # `zoo list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except OSError as error:
            file = f"{error.filename}: " if error.filename else ""
            self._end(ctx, f"{file}{error.strerror or error}", 1, error)

    @staticmethod
    def _end(ctx: Any, message: str, code: int, error: BaseException) -> None:
        if ctx.params.get("debug"):
            raise
        _end(message, code, error)


def _end(message: str, code: int, error: BaseException) -> NoReturn:
    for line in (message, *getattr(error, "__notes__", ())):
        print(f"zoo: {line}", file=sys.stderr)
    sys.exit(code)


language.install()
app = typer.Typer(
    cls=_Zoo,
    help="The models every PyTorch course teaches: train, export, predict, serve.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: importing rich would take longer than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
command = partial(app.command, cls=Command)


def _option(help: str, *names: str, section: str | None = None, **settings: Any) -> Any:
    """Describe an option; the help of a long command shows its options by section."""
    return typer.Option(*names, help=help, rich_help_panel=section, **settings)


_data, _recipe, _run, _input, _output, _compute, _address, _limits, _access, _logging = (
    partial(_option, section=section)
    for section in "Data Recipe Run Input Output Compute Address Limits Access Logging".split()
)


def _argument(metavar: str, help: str, module: str, names: str) -> Any:
    """Describe an argument; the shell completes it by a function of a module, imported then."""
    return typer.Argument(
        metavar=metavar, help=help, autocompletion=lambda: getattr(import_module(module), names)()
    )


_bundle = partial(_argument, module="zoo.bundle.folder", names="shipped")
Model = Annotated[str, _bundle("MODEL", "Name of a model, path of a bundle, or hf://user/repo.")]
Models = Annotated[
    list[str] | None, _bundle("MODEL", "Names or paths of bundles.  [default: all shipped models]")
]
_ENGINE = "Engine that runs the model; numpy: the layers by hand."
_TUNED = "Engine that runs the model; auto: the fastest that zoo tune measured."
TorchDevice = Annotated[Device, _compute("Device to compute on; cuda never falls back to the CPU.")]
RuntimeDevice = Annotated[
    SessionDevice, _compute("Device to compute on; cuda and tensorrt never fall back to the CPU.")
]
CudaGraphs = Annotated[bool, _compute("Record and replay CUDA graphs (cuda).", "--cuda-graphs")]
Fp16 = Annotated[bool, _compute("Compute in half precision (tensorrt).", "--fp16")]
_SET = _recipe(
    "Set any recipe field; repeatable.",
    "--set",
    metavar="FIELD=VALUE",
    autocompletion=lambda: import_module("zoo.fields").names(),
)
RecipeFields = Annotated[list[str] | None, _SET]
Moved = Annotated[
    str, _data("Place that the model's own data have moved to; checked by their SHA-256.")
]
Target = Annotated[str | None, _data("Target column of a .csv or .parquet file.")]
Drop = Annotated[list[str] | None, _data("Column to leave out; repeatable.")]
Out = Annotated[Path | None, _run("Folder to create.  [default: runs/MODEL]", metavar="DIR")]
Json = Annotated[bool, _output("Print one JSON document.", "--json")]
Plot = Annotated[Path | None, _output("Draw the results as a PNG file.", metavar="FILE")]


def _print_json(document: Any) -> None:
    """Print one JSON document on stdout."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=2).decode())


def _version(asked: bool) -> None:
    if asked:
        print(f"zoo {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, _option("Print the version.", "--version", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, _option("Show tracebacks of errors.", "--debug")] = False,
) -> None:
    """Options of all commands."""
    if debug:
        import logging

        logging.basicConfig(level=logging.WARNING)
        logging.getLogger("zoo").setLevel(logging.DEBUG)


@command("list")
def list_models(json: Json = False) -> None:
    """List the models with their size, test score and data."""
    from zoo import registry
    from zoo.bundle.folder import Bundle, shipped

    cards = {name: Bundle.open(name).card for name in shipped()}
    names = sorted({*registry.names(), *cards})
    if json:
        documents = []
        for name, card in ((name, cards.get(name)) for name in names):
            fields = ("title", "lesson", "parameters", "test")
            document = {field: getattr(card, field, None) for field in fields}
            documents.append({"name": name, "dataset": card and card.dataset.name} | document)
        _print_json(documents)
        return
    rows = [["name", "parameters", "test", "title"]]
    for name in names:
        if card := cards.get(name):
            title = card.lesson if language.current() == "zh" else card.title
            rows.append([name, f"{card.parameters:,}", card.score, title])
        else:
            rows.append([name, "", "", f"not trained yet: zoo train {name}"])
    print_table(rows, right=[1])


@command()
def info(model: Model, json: Json = False) -> None:
    """Show a model's card: contract, metrics, recipe, provenance."""
    from zoo.bundle.folder import Bundle

    bundle = Bundle.open(model)
    if json:
        _print_json(bundle.card)
    else:
        lines = {language.translate(name): text for name, text in bundle.describe().items()}
        try:
            from zoo.runtime import benchmark

            p50 = benchmark.latency(bundle).p50_ms
            latency = f"{p50:.3f} ms at batch 1 on the CPU (median, measured now)"
        except (ImportError, ZooError) as error:  # the card is readable without an engine
            latency = f"not measured: {first_line(error)}"
        lines[language.translate("latency")] = latency
        widest = max(11, *map(width, lines))
        print(*(f"{n}{' ' * (widest - width(n))} {text}" for n, text in lines.items()), sep="\n")


def _set_fields(changes: dict[str, Any], texts: list[str]) -> None:
    """Add what `--set` gives; the last value of a field counts, and a line says so."""
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected FIELD=VALUE")
        if field in changes and str(changes[field]) != value:
            print(f"zoo: {field} is given twice: {value} is taken", file=sys.stderr)
        changes[field] = value


@app.command(cls=RecipeCommand)
def train(
    model: Annotated[str | None, _argument("MODEL", "Model name.", "zoo.registry", "names")] = None,
    data: Annotated[
        str,
        _data(
            "Folder of class folders, IDX files, .npz, .csv, .parquet, or the name of a "
            "torchvision data set (fashion-mnist, cifar10, ...).  [default: the model's own]",
        ),
    ] = "",
    target: Target = None,
    drop: Drop = None,
    size: Annotated[
        int | None,
        _data(
            "Image size in pixels; images are padded to a square and resized.  [default: the "
            "data's own, 28 for a folder]",
            min=1,
        ),
    ] = None,
    epochs: Annotated[int | None, _recipe("Number of passes over the training data.")] = None,
    batch_size: Annotated[int | None, _recipe("Number of rows in a training step.")] = None,
    lr: Annotated[float | None, _recipe("Peak learning rate.")] = None,
    seed: Annotated[int | None, _recipe("Seed of all random numbers.")] = None,
    init: Annotated[
        str | None,
        _recipe("Initial weights, where they fit.", metavar="random|pretrained|BUNDLE"),
    ] = None,
    engine: Annotated[
        Literal["torch", "numpy"] | None, _recipe(_ENGINE.replace("runs", "trains"))
    ] = None,
    recipe: Annotated[
        Literal["best", "notes"],
        _recipe("Recipe to begin with: the model's best, or as the lecture notes train it."),
    ] = "best",
    set_: RecipeFields = None,
    device: TorchDevice = "auto",
    out: Out = None,
    resume: Annotated[Path | None, _run("Resume the training of this run.", metavar="RUN")] = None,
    tensorboard: Annotated[bool, _run("Write TensorBoard events too.", "--tensorboard")] = False,
) -> None:
    """Train a model by its recipe; the run folder becomes a bundle.

    Several processes: torchrun --nproc-per-node 2 --no-python zoo train MODEL
    """
    options = {
        "target": target, "size": size, "epochs": epochs, "batch_size": batch_size, "lr": lr,
        "seed": seed, "init": init, "engine": engine,
    }  # fmt: skip
    changes: dict[str, Any] = {k: value for k, value in options.items() if value is not None}
    changes |= {"drop": ",".join(drop)} if drop else {}
    _set_fields(changes, set_ or [])
    if model is None and resume is None:
        raise UsageError("train: expected the name of a model (see zoo list), or --resume RUN")
    from zoo.hardware import Activity

    activity = Activity()  # of other programs, while torch is imported
    with needs_extra("train", "zoo train"):
        from zoo import registry
        from zoo.training import distributed, process, start
    with distributed.one_voice():
        on: dict[str, Any] = {"device": device, "tensorboard": tensorboard}
        more = epochs if resume is not None and not changes.keys() - {"epochs"} else None
        if resume is not None and more is not None:  # beyond its end: a run of its own
            name, plan = start.further(resume, more, name=model, data=data)
            process.use_free_cores(activity)
            run = start.train(name, plan, out or start.free_folder(Path("runs") / name), **on)
        elif resume is not None:
            if changes or out is not None or recipe != "best":
                raise UsageError("--resume takes recipe and folder from RUN: leave them out")
            run = start.resume(resume, name=model, data=data, **on)
        else:
            assert model is not None
            entry = registry.get(model)
            base = entry.notes if recipe == "notes" else entry.recipe
            own = changes.pop("data", data), base, str(changes.get("target", ""))
            plan = entry.recipe_on(*own).replace(**changes)
            out = out or start.free_folder(Path("runs") / model)
            process.use_free_cores(activity)
            run = start.train(model, plan, out, **on)
    print(run)


@command("import")
def import_(
    weights: Annotated[
        Path, typer.Argument(metavar="WEIGHTS", help="State dict: .pth or .safetensors file.")
    ],
    model: Annotated[
        str,
        _option(
            "Model that the weights belong to.",
            autocompletion=lambda: import_module("zoo.registry").names(),
            metavar="MODEL",
        ),
    ],
    data: Annotated[str, _data("Data that they are for.  [default: the model's own]")] = "",
    target: Target = None,
    drop: Drop = None,
    size: Annotated[int | None, _data("Image size in pixels.", min=1)] = None,
    out: Out = None,
) -> None:
    """Turn weights that were trained elsewhere into a bundle."""
    given: dict[str, Any] = {"target": target, "size": size, "drop": ",".join(drop or [])}
    with needs_extra("train", "zoo import"):
        from zoo import registry
        from zoo.training.imported import import_weights

        plan = registry.get(model).recipe_on(data, target=target or "")
        plan = plan.replace(**{name: value for name, value in given.items() if value})
        print(import_weights(weights, model, plan, out))


@command()
def compare(
    runs: Annotated[list[str], _bundle("RUN", "Run folders, or bundles by name or path.")],
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Compare runs: recipe fields that differ, and results."""
    from zoo.training import compare as comparison

    rows = [comparison.read(run) for run in runs]
    if plot is not None:
        with needs_extra("train", "--plot"):
            comparison.plot(rows, plot)
    if json:
        _print_json([row._asdict() for row in rows])
    else:
        table = comparison.table(rows)
        print_table(table, right=range(2, len(table[0])))


@command()
def reproduce(
    model: Model,
    seeds: Annotated[int | None, _option("Number of seeds.  [default: the card's]", min=1)] = None,
    out: Annotated[Path, _option("Folder for the runs.", metavar="DIR")] = Path("runs/reproduce"),
    data: Moved = "",
    device: TorchDevice = "auto",
    json: Json = False,
) -> None:
    """Train by the card's recipe and seeds, and check its score."""
    from zoo.bundle.folder import Bundle
    from zoo.evaluation.evaluate import moved

    with needs_extra("train", "zoo reproduce"):
        from zoo.training import reproduce as reproduction

        bundle = moved(Bundle.open(model), data) if data else Bundle.open(model)
        verdict = reproduction.reproduce(bundle, seeds=seeds, out=out, device=device)
    if json:
        _print_json(verdict._asdict() | {"trials": [trial._asdict() for trial in verdict.trials]})
    else:
        print_table(reproduction.table(verdict), right=range(3))
    if verdict.problem:
        raise VerificationError(f"{verdict.name} is not reproduced: {verdict.problem}")


@command()
def evaluate(
    model: Model,
    data: Annotated[
        str,
        _data(
            "Your own data with known answers: a folder of class folders, IDX files, .npz, .csv, "
            ".parquet.  [default: the model's test set]"
        ),
    ] = "",
    target: Annotated[
        str, _data("Column of the answers in a table.  [default: the model's]", metavar="COLUMN")
    ] = "",
    engine: Annotated[Literal[SessionEngine, "torch"], _compute(_ENGINE)] = "onnx",
    device: TorchDevice = "auto",
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure a model on its whole test set, or on your own data."""
    from zoo.bundle.card import figure, text
    from zoo.bundle.folder import Bundle
    from zoo.evaluation import own_data
    from zoo.evaluation.evaluate import evaluate as measure
    from zoo.evaluation.evaluate import if_moved

    bundle = Bundle.open(model)
    card = bundle.card
    if target and not data:
        raise UsageError("--target is a column of --data: give both")
    own = None
    if data and not target and (again := if_moved(bundle, data)) is not None:
        bundle = again
        print(f"{data}: what the model was trained on; its test part is measured", file=sys.stderr)
    elif data:
        own = own_data.read(card, data, target)
    for note in own.notes if own else ():
        print(note, file=sys.stderr)
    result = measure(bundle, own.split if own else None, engine=engine, device=device)
    if plot is not None:
        with needs_extra("train", "--plot"):
            from zoo import plots
        if not card.labels:
            raise UsageError(f"--plot: {card.name} is a regression, it has no confusion matrix")
        score = figure(card.metric, result.metrics[card.metric])
        plots.confusion(result.confusion, card.labels, plot, f"{card.name} {score}")
    count, rows = len(result.outputs), f"rows of {own.source}" if own else "test rows"
    if json:
        document = {"name": card.name, "engine": engine, "device": result.device, "rows": count}
        if own:
            document |= {"data": own.source, "failed": len(own.errors)}
        _print_json(document | {"metrics": result.metrics, "confusion": result.confusion})
    else:
        print(
            f"{card.name} ({engine}, {result.device}) on {count:,} {rows}: {text(result.metrics)}"
        )
        if card.labels:
            table = [["true \\ predicted", *card.labels]]
            for label, counts in zip(card.labels, result.confusion, strict=True):
                table.append([label, *(f"{number or '.'}" for number in counts)])
            print_table(table, right=range(len(table)))
    if own and own.errors:
        total = count + len(own.errors)
        print(
            f"zoo: {len(own.errors):,} of {total:,} inputs failed, first {own.errors[0]}",
            file=sys.stderr,
        )
        raise typer.Exit(3)


@command()
def export(
    model: Model,
    output: Annotated[
        str | None,
        _output(
            "File to write, DIR/ for a bundle, or the folder of a Triton model repository.  "
            "[default: MODEL.onnx, MODEL-int8.onnx, models]",
            *("-o", "--output"),
            metavar="PATH",
        ),
    ] = None,
    form: Annotated[
        Literal["onnx", "triton"], _output("ONNX file, or Triton model repository.", "--format")
    ] = "onnx",
    test_vectors: Annotated[
        Path | None, _output("Write the file and test vectors to this folder.", metavar="DIR")
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        _option("Precision of weights and arithmetic; int8 is calibrated on training rows."),
    ] = "fp32",
    opset: Annotated[
        int | None, _option("ONNX opset, 15 to 26.  [default: 20; 21 for tables in int8]")
    ] = None,
    batch: Annotated[str, _option("Rows that the file takes.", metavar="N|dynamic")] = "dynamic",
    preprocess: Annotated[
        Literal["graph", "none"],
        _option("none: the file takes normalized float32 input, NCHW for images."),
    ] = "graph",
    gpu: Annotated[bool, _option("Let Triton run the model on GPUs (triton).", "--gpu")] = False,
    name: Annotated[str, _option("Model's name in the repository (triton).")] = "",
    data: Moved = "",
) -> None:
    """Export a model to ONNX, if it agrees with torch."""
    from zoo.bundle.folder import Bundle
    from zoo.evaluation.evaluate import moved

    bundle = moved(Bundle.open(model), data) if data else Bundle.open(model)
    if form == "triton" and (test_vectors or batch != "dynamic" or preprocess == "none"):
        raise UsageError(
            "--format triton: the file takes raw inputs at any batch size: leave out "
            "--test-vectors, --batch and --preprocess"
        )
    if form == "onnx" and (gpu or name):
        raise UsageError("--gpu and --name are for --format triton")
    if test_vectors and output:
        raise UsageError("--test-vectors DIR contains the file: leave out -o")
    if batch != "dynamic" and not batch.isdecimal():
        raise UsageError(f"--batch {batch}: expected a number of rows, or dynamic")
    from zoo.export.variant import Variant

    variant = Variant(precision, opset, None if batch == "dynamic" else int(batch), preprocess)
    if form == "triton":
        from zoo.bundle.triton import repository

        graph = b""
        if variant != Variant():  # otherwise the bundle's own file, without torch
            with needs_extra("train", "zoo export"):
                from zoo.export.bundle import build
            graph = build(bundle, variant).graph
        kind, folder = "gpu" if gpu else "cpu", Path(output or "models")
        print(repository([bundle], folder, kind=kind, name=name, graph=graph)[0])
        return
    with needs_extra("train", "zoo export"):
        from zoo.export.bundle import export_bundle
    suffix = "" if precision == "fp32" else f"-{precision}"
    to = test_vectors or output or f"{bundle.card.name}{suffix}.onnx"
    measured = export_bundle(bundle, to, variant, vectors=test_vectors is not None)
    print(Path(to))
    print(measured.describe(bundle.card.metric, precision), file=sys.stderr)


@command()
def push(
    model: Model,
    repo: Annotated[str, typer.Argument(help="Repository on the Hugging Face Hub: user/name.")],
    private: Annotated[bool, _option("Make a new repository private.", "--private")] = False,
) -> None:
    """Upload a model to the Hugging Face Hub."""
    from zoo.bundle.folder import Bundle
    from zoo.bundle.upload import push as upload

    print(upload(Bundle.open(model), repo, private=private))


@command()
def predict(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Images: files, folders, globs, .zip, .tar, .npy, .npz, IDX, .parquet; - reads "
            "names from stdin. Tables: .csv, .npy, .npz, .parquet. Or s3://... and the like."
        ),
    ],
    prepare: Annotated[Literal["auto", "none"], _input("Find, scale and center digits.")] = "auto",
    invert: Annotated[
        Literal["auto", "yes", "no"], _input("Invert images; auto: digits on a light background.")
    ] = "auto",
    first_frame: Annotated[
        bool, _input("Take the first frame of an animation.", "--first-frame")
    ] = False,
    keep: Annotated[
        list[str] | None,
        _output(
            "Column of the input table to write beside the answers, as text; repeatable.",
            metavar="COLUMN",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        _output("Write a .csv, .jsonl or .parquet file.", "-o", "--output", metavar="FILE"),
    ] = None,
    format: Annotated[
        Literal["table", "csv", "jsonl"], _output("Format of the rows on stdout.")
    ] = "table",
    top: Annotated[int, _output("Number of classes to name in each row.", min=1)] = 1,
    resume: Annotated[bool, _output("Resume an interrupted job; needs -o.", "--resume")] = False,
    json: Json = False,
    show: Annotated[
        Path | None,
        _output("Draw pictures, what the model sees, and answers: a .png file.", metavar="FILE"),
    ] = None,
    engine: Annotated[
        Literal[SessionEngine, "ray"], _compute(f"{_TUNED[:-1]}; ray: a cluster.")
    ] = "auto",
    address: Annotated[
        str | None, _compute("Address of the Ray cluster.  [default: a new one on this machine]")
    ] = None,
    device: RuntimeDevice = "auto",
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
) -> None:
    """Predict images or tables, and write a row for each."""
    from serve.batch import job, sinks, start
    from serve.batch.run import check_keep
    from zoo.bundle.folder import Bundle

    start.check_output(output, json=json, format=format, resume=resume)
    check_keep(keep or [], inputs)
    bundle = Bundle.open(model)
    sheet = None
    if show is not None:
        from serve.batch.sheet import checked

        sheet = checked(show, bundle.card, inputs, resume=resume, engine=engine)
    on: dict[str, Any] = {"device": device, "graphs": cuda_graphs, "fp16": fp16}
    run = start.runner(bundle, engine, address=address, resume=resume, sheet=sheet, **on)
    options: dict[str, Any] = {"top": top, "prepare": prepare, "invert": invert}
    options |= {"first_frame": first_frame, "keep": keep or []}
    collected = sinks.Collect() if json else None
    if output is None:
        tally = run(inputs, collected or sinks.on_stdout(format), **options)
    else:
        note = {"files": bundle.card.files, "engine": engine}
        tally = job.to_file(run, inputs, output, note, resume=resume, **options)
    if collected is not None:
        _print_json({"model": bundle.card.name, "device": tally.device, "rows": collected.rows})
    sys.stdout.flush()
    print(tally.summary, *([sheet.save(tally.rows)] if sheet else []), sep="\n", file=sys.stderr)
    raise typer.Exit(tally.exit_code)


@command()
def verify(
    models: Models = None, data: Moved = "", device: TorchDevice = "auto", json: Json = False
) -> None:
    """Check hashes, and every score on the whole test set."""
    from zoo.bundle.folder import locate, shipped
    from zoo.evaluation.verify import verify as check
    from zoo.progress import Bar

    paths = [locate(model) for model in models or shipped()]
    if data and len(paths) != 1:
        raise UsageError("--data is the data of one bundle: name that one")
    verdicts = []
    with Bar("verify", len(paths), unit="bundles") as bar:
        for path in paths:
            verdicts.append(check(path, device=device, data=data))
            bar.advance(1, verdicts[-1].name)
    if json:
        _print_json([verdict._asdict() for verdict in verdicts])
    else:
        rows = [[v.name, v.card, v.measured, v.problem or "ok"] for v in verdicts]
        print_table([["name", "card", "measured", "verdict"], *rows])
    failed = ", ".join(verdict.name for verdict in verdicts if verdict.problem)
    if failed or not verdicts:
        raise VerificationError(f"verification failed: {failed or 'no bundle to check'}")


@command()
def serve(
    models: Annotated[
        list[str] | None,
        _bundle("MODEL", "Names or paths; NAME=PATH renames.  [default: all shipped models]"),
    ] = None,
    host: Annotated[str, _address("Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _address("HTTP port; 0 takes a free one.", min=0, max=65535)] = 8000,
    grpc_port: Annotated[
        int | None,
        _address("gRPC port; 0 takes a free one.  [default: no gRPC]", min=0, max=65535),
    ] = None,
    uds: Annotated[str, _address("Unix socket to listen on instead of a port.")] = "",
    root_path: Annotated[
        str, _address("Prefix that a proxy takes off addresses, as in /zoo.")
    ] = "",
    workers: Annotated[
        str, _compute("Number of worker processes; auto: one per core.", metavar="N|auto")
    ] = "1",
    threads: Annotated[int, _compute("CPU threads per model run; 0: all cores.", min=0)] = 1,
    engine: Annotated[Literal["auto", "onnx", "openvino"], _compute(_TUNED)] = "auto",
    device: RuntimeDevice = "auto",
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
    max_batch: Annotated[int, _limits("Maximum number of rows in a batch.", min=1)] = 64,
    max_queue: Annotated[
        int, _limits("Maximum queued requests per model; further ones get 503.", min=1)
    ] = 512,
    timeout: Annotated[float, _limits("Seconds until a request gets 503.", min=0.01)] = 10.0,
    max_body: Annotated[
        int, _limits("Maximum size of a request body in bytes; larger ones get 413.", min=1)
    ] = 16_000_000,
    max_pixels: Annotated[
        int, _limits("Maximum number of pixels of a picture; larger ones get 413.", min=1)
    ] = 64_000_000,
    decode_memory: Annotated[
        int, _limits("Memory for decoding pictures, of all requests together, in bytes.", min=1)
    ] = 256_000_000,
    keep_alive: Annotated[
        float, _limits("Seconds that a connection may be idle; above a proxy's.", min=0.01)
    ] = 75.0,
    drain: Annotated[
        float, _limits("Seconds after SIGTERM, not ready, in which requests are taken.", min=0)
    ] = 0.0,
    allowed_hosts: Annotated[
        list[str] | None,
        _access("Name a Host header may have; repeatable.  [default: loopback's on loopback]"),
    ] = None,
    cors_origin: Annotated[
        list[str] | None, _access("Origin whose pages may send requests; repeatable.")
    ] = None,
    api_key_file: Annotated[
        Path | None, _access("File with the API keys, one a line.  [default: ZOO_API_KEY]")
    ] = None,
    ssl_certfile: Annotated[str, _access("Certificate chain (PEM), for TLS.")] = "",
    ssl_keyfile: Annotated[str, _access("Private key of the certificate (PEM).")] = "",
    model_control: Annotated[
        Literal["none", "explicit"],
        _limits("Let clients load and unload the served models (explicit), or not (none)."),
    ] = "none",
    access_log: Annotated[bool, _logging("Write a line to stderr for each request.")] = True,
    log_format: Annotated[
        Literal["text", "json"], _logging("Format of the lines on stderr.")
    ] = "text",
) -> None:
    """Serve models over HTTP and gRPC, with a page to try them."""
    from serve.options import Options
    from serve.start import Where, number_of_workers, start
    from zoo.bundle.folder import shipped

    options = Options(
        models=tuple(models or shipped()), engine=engine, device=device, graphs=cuda_graphs,
        fp16=fp16, threads=threads, max_batch=max_batch, max_queue=max_queue, timeout=timeout,
        max_body=max_body, max_pixels=max_pixels, decode_memory=decode_memory,
        keep_alive=keep_alive, log=log_format if access_log else "off", log_format=log_format,
        drain=drain, hosts=tuple(allowed_hosts or ()), origins=tuple(cors_origin or ()),
        certfile=ssl_certfile, keyfile=ssl_keyfile, root_path=root_path,
        model_control=model_control,
    )  # fmt: skip
    where = Where(host, port, grpc_port, uds, number_of_workers(workers), api_key_file)
    start(options, where, partial(print, flush=True))


@command()
def tune(
    models: Models = None,
    seconds: Annotated[float, _input("Seconds for each measurement.", min=0.005)] = 0.05,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure engines here; --engine auto then takes the fastest."""
    from zoo.bundle.folder import Bundle, shipped
    from zoo.evaluation import tuning
    from zoo.runtime.choices import BATCHES

    tunings = tuning.tune([Bundle.open(name) for name in models or shipped()], seconds)
    if plot is not None:
        with needs_extra("train", "--plot"):
            tuning.plot(tunings, plot)
    if json:
        _print_json(tunings)
        return
    rows = [["model", "engine", "file", "threads", "test", "rows/s at 1", "rows/s at 256"]]
    for one in tunings:
        chosen = [one.choose(batch) for batch in BATCHES]
        for way in one.results:
            rates = [
                f"{'* ' if way == best else ''}{rate:,.0f}"
                for rate, best in zip(way.rows_per_second, chosen, strict=True)
            ]
            row = [one.model, way.engine, way.file, str(way.threads), f"{way.score:.4f}"]
            rows.append([*row, *rates])
    print_table(rows, right=range(3, 7))


@command()
def benchmark(
    models: Models = None,
    engine: Annotated[SessionEngine, _compute(_TUNED)] = "auto",
    device: Annotated[
        SessionDevice, _compute("Device to measure; auto: every one that is available.")
    ] = "auto",
    batch: Annotated[
        list[int] | None,
        _input("Rows in a run; repeatable.  [default: 1, 8, 64, 256, 1024]", min=1),
    ] = None,
    seconds: Annotated[float, _input("Seconds for each measurement.", min=0.01)] = 0.5,
    threads: Annotated[int, _compute("CPU threads; 0: all cores.", min=0)] = 0,
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
    plot: Plot = None,
    json: Json = False,
) -> None:
    """Measure rows/s and latency by batch size and device."""
    from zoo.bundle.folder import Bundle, shipped
    from zoo.runtime import benchmark as bench

    options: dict[str, Any] = {"threads": threads, "graphs": cuda_graphs, "fp16": fp16}
    bundles = [Bundle.open(name) for name in models or shipped()]
    sizes = batch or bench.BATCHES
    if not isfinite(seconds):
        raise UsageError(f"--seconds {seconds}: expected a number of seconds")
    results = bench.benchmark(bundles, device, sizes, seconds, engine=engine, **options)
    if plot is not None:
        with needs_extra("train", "--plot"):
            bench.plot(results, plot)
    if json:
        _print_json(bench.report(results, engine))
        return
    rows = [["model", "device", "batch", "rows/s", "p50 ms", "p99 ms"]]
    for result in results:
        row = [result.model, result.device, f"{result.batch}", f"{result.rows_per_second:,.0f}"]
        rows.append([*row, f"{result.p50_ms:.3f}", f"{result.p99_ms:.3f}"])
    print_table(rows, right=range(2, 6))


@command()
def doctor(json: Json = False) -> None:
    """Check versions, devices and engines; say how to fix faults."""
    from zoo.doctor import examine

    findings = examine()
    if json:
        _print_json([finding._asdict() for finding in findings])
    else:
        rows = []
        for check, status, detail, fix in findings:
            rows += [[status, check, detail], *([["", "", f"-> {fix}"]] if fix else [])]
        print_table(rows)
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)


@command()
def lesson(
    name: Annotated[
        str | None,
        _argument(
            "LESSON",
            "Lesson to run: name, number or word.  [default: list]",
            "zoo.lessons",
            "names",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the lessons of the notes, or run one."""
    from zoo import lessons

    if name is not None:
        if json:
            raise UsageError("--json lists the lessons: give no name")
        lessons.run(name)
        return
    catalogue = lessons.lessons()
    if json:
        _print_json(catalogue)
    else:
        rows = [
            [
                str(number),
                lesson.name,
                lesson.heading_zh if language.current() == "zh" else lesson.heading_en,
            ]
            for number, lesson in enumerate(catalogue, 1)
        ]
        print_table([["", "name", "title"], *rows], right=[0])


@command()
def exercise(
    name: Annotated[
        str | None,
        _argument("EXERCISE", "Exercise to start.  [default: list]", "zoo.exercises", "names"),
    ] = None,
    output: Annotated[
        Path | None, _output("File to write the stub to.  [default: print it]", "-o", "--output")
    ] = None,
    force: Annotated[bool, _output("Overwrite an existing file.", "--force")] = False,
    json: Json = False,
) -> None:
    """List the exercises, or write the stub of one to fill in."""
    from zoo import exercises

    if name is None:
        if output is not None or force:
            raise UsageError("-o and --force are for the stub of an exercise: give its name")
        catalogue = exercises.exercises()
        if json:
            fields = [(one.name, one.title, one.lesson) for one in catalogue]
            _print_json(
                [{"name": n, "title": t._asdict(), "lesson": lesson} for n, t, lesson in fields]
            )
        else:
            print_table([["name", "title"], *([one.name, str(one.title)] for one in catalogue)])
        return
    if json:
        raise UsageError("--json lists the exercises: give no name")
    chosen = exercises.get(name)
    if output is None:
        print(exercises.stub.text(chosen), end="")
    else:
        exercises.stub.write(chosen, output, force=force)
        print(output)


@command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with the filled-in stub.")],
    timeout: Annotated[
        float, _option("Seconds that its code may take.", min=0.1, metavar="SECONDS")
    ] = 60,
    json: Json = False,
) -> None:
    """Check a filled-in exercise: results and gradients."""
    from zoo import exercises

    report = exercises.check(file, seconds=timeout)
    if json:
        _print_json(report)
    else:
        for line in exercises.printed(report):
            print(line, file=sys.stderr)
        print(*exercises.lines(report), sep="\n")
    if not report.passed:
        raise typer.Exit(1)


@command()
def demo(
    out: Annotated[Path, _option("Folder of the report.", metavar="DIR")] = Path("demo-report"),
    epochs: Annotated[int, _option("Number of epochs to train.", min=1)] = 3,
    device: TorchDevice = "auto",
) -> None:
    """Take the tour: train, export, predict, write a report."""
    from serve.demo import demo as tour

    print(tour(out, epochs=epochs, device=device))
    print(
        f"open the report in a browser, then try:\n  zoo list\n"
        f"  zoo predict resnet {out / 'digits'}\n  zoo train softmax\n  zoo verify",
        file=sys.stderr,
    )


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):  # one that is not UTF-8 lacks most characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if "--debug" in sys.argv[2:]:  # allowed anywhere, not only before the command
        sys.argv.remove("--debug")
        sys.argv.insert(1, "--debug")
    try:
        app(prog_name="zoo")
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        name = type(error).__name__
        _end(f"unforeseen {name}: {first_line(error)}; --debug shows where", 1, error)


if __name__ == "__main__":
    main()
