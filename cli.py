"""The command `zoo`. Each command parses, imports what it needs, makes one call and prints.

stdout is data, stderr is progress and messages. Exit codes: 0 done; 1 failed; 2 usage; 3 some
inputs failed, the rest is written; 4 the device is not there; 5 verification failed; 130 stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import typer
from typer.core import TyperGroup

from zoo.errors import UsageError, VerificationError, ZooError, needs_extra
from zoo.version import __version__

Device = Literal["auto", "cpu", "cuda", "mps"]
#: Of ONNX Runtime alone.
SessionDevice = Literal["auto", "cpu", "cuda", "tensorrt", "mps"]
#: Those that need no torch.
SessionEngine = Literal["onnx", "numpy", "openvino"]


class _Zoo(TyperGroup):
    """Turns errors into one line and the right exit code; `--debug` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            self._end(ctx, "interrupted", 130)
        except ZooError as error:
            self._end(ctx, str(error), error.exit_code)
        except BrokenPipeError:  # `zoo list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self._end(ctx, f"{where}{error.strerror or error}", 1)

    @staticmethod
    def _end(ctx: Any, message: str, code: int) -> None:
        if ctx.params.get("debug"):
            raise
        print(f"zoo: {message}", file=sys.stderr)
        sys.exit(code)


app = typer.Typer(
    cls=_Zoo,
    help="The models every PyTorch course teaches: train, export, predict.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would take longer than all the rest
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _complete_models() -> list[str]:
    from zoo import registry

    return registry.names()


def _complete_bundles() -> list[str]:
    from zoo.bundle.folder import shipped

    return shipped()


Model = Annotated[str, typer.Argument(help="A model's name.", autocompletion=_complete_models)]
BundleName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A shipped model's name, or the path of a bundle.",
        autocompletion=_complete_bundles,
    ),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where to run; cuda never falls back to the CPU.")
]
SessionDeviceOption = Annotated[
    SessionDevice, typer.Option(help="Where to run; cuda and tensorrt never fall back to the CPU.")
]
CudaGraphs = Annotated[
    bool, typer.Option("--cuda-graphs", help="Record CUDA graphs and replay them (cuda).")
]
Fp16 = Annotated[bool, typer.Option("--fp16", help="Compute in half precision (tensorrt).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


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
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options of all commands."""


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the models, with what is known of the trained ones."""
    from zoo import registry
    from zoo.bundle.folder import Bundle, shipped

    known = {name: Bundle.open(name).card for name in shipped()}
    names = sorted({*registry.names(), *known})
    if json:
        _print_json(
            [
                {
                    "name": name,
                    "title": card.title if card else None,
                    "lesson": card.lesson if card else None,
                    "dataset": card.dataset.name if card else None,
                    "parameters": card.parameters if card else None,
                    "test": card.test if card else None,
                }
                for name in names
                for card in [known.get(name)]
            ]
        )
        return
    print(f"{'name':<12}{'parameters':>10}  {'test':<9}  {'data':<14}title")
    for name in names:
        if card := known.get(name):
            print(
                f"{name:<12}{card.parameters:>10,}  {card.score:<9}  "
                f"{card.dataset.name:<14}{card.title} · {card.lesson}"
            )
        else:
            print(f"{name:<12}{'':>10}  not trained: zoo train {name}")


@app.command()
def info(model: BundleName, json: Json = False) -> None:
    """Show a model's card: contract, metrics, recipe, provenance."""

    from zoo.bundle.folder import Bundle

    bundle = Bundle.open(model)
    card = bundle.card
    if json:
        _print_json(card)
        return
    idle = () if card.recipe.teacher else ("temperature", "distillation")
    recipe = {
        name: value
        for name, value in msgspec.structs.asdict(card.recipe).items()
        if value not in (0, "", "random") and name not in idle
    }
    training, parity = card.training, card.parity
    lines = {
        "model": f"{card.name}: {card.title} · {card.lesson}",
        "bundle": _short(bundle.path),
        "parameters": f"{card.parameters:,}",
        "input": ", ".join(map(_tensor, card.inputs)),
        "outputs": ", ".join(map(_tensor, card.outputs)),
        "labels": ", ".join(card.labels) or "none (regression)",
        "test": f"{_metrics(card.test)} on {card.dataset.test:,} rows",
        "validation": f"{_metrics(card.validation)} (epoch {training.epoch} was kept)",
        "parity": f"largest difference {parity.max_abs_difference:.1e}, same top-1 on "
        f"{parity.same_top1:,} of {parity.samples:,}",
        "dataset": f"{card.dataset.name}, {card.dataset.license}, "
        f"SHA-256 {card.dataset.sha256[:16]}...",
        "recipe": ", ".join(f"{name}={value}" for name, value in recipe.items()),
        "training": f"{training.seconds:.1f} s on {training.hardware}, "
        f"{training.threads} {'thread' if training.threads == 1 else 'threads'}; "
        f"{training.command}",
        "versions": ", ".join(f"{name} {value}" for name, value in training.versions.items()),
        "license": card.license,
        "limits": card.limits,
    }
    if card.seeds:
        shipped = f"seed {card.seeds.shipped} ships, {card.seeds.why}"
        lines["seeds"] = f"{card.score} {card.spread}; {shipped}"
    for name, text in lines.items():
        print(f"{name:<11} {text}")


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _tensor(spec: Any) -> str:
    return f"{spec.name} {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


@app.command()
def train(
    model: Annotated[
        str | None,
        typer.Argument(help="A model's name.", autocompletion=_complete_models),
    ] = None,
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="A folder of class folders, IDX files, a .csv file, or a name that torchvision "
            "knows (fashion-mnist, cifar10, ...).  [default: the model's own]",
        ),
    ] = "",
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Of a .csv file: what to tell.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="The side that every image gets.")] = None,
    init: Annotated[
        Literal["random", "pretrained"] | None,
        typer.Option(help="pretrained: from the shipped weights, where they fit."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Recipe field epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Recipe field batch_size.")] = None,
    lr: Annotated[float | None, typer.Option(help="Recipe field lr.")] = None,
    seed: Annotated[int | None, typer.Option(help="Recipe field seed.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Any recipe field; repeatable."),
    ] = None,
    engine: Annotated[
        Literal["torch", "numpy"] | None,
        typer.Option(help="Recipe field engine; numpy: the layers by hand."),
    ] = None,
    device: DeviceOption = "auto",
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run folder.  [default: runs/MODEL]")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write RUN/tensorboard too.")
    ] = False,
) -> None:
    """Train a model by its recipe; the run folder ends as a bundle.

    Several processes: torchrun --nproc-per-node 2 --no-python zoo train MODEL
    """
    changes: dict[str, Any] = {
        name: value
        for name, value in
        {
            "target": target, "size": size, "init": init,
            "epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed,
            "engine": engine,
        }.items()
        if value is not None
    }  # fmt: skip
    for text in set_ or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set {text}: expected field=value")
        changes[field] = value
    if model is None and resume is None:
        raise UsageError("train: expected a model's name (see zoo list), or --resume RUN")
    with needs_extra("train", "zoo train"):
        from zoo import registry
        from zoo.training import distributed
        from zoo.training import start as training
    options: dict[str, Any] = {"device": device, "tensorboard": tensorboard}
    with distributed.one_voice():
        if resume is not None:
            if data or changes or out is not None:
                raise UsageError("--resume takes the recipe and the folder of the run, no others")
            run = training.resume(resume, name=model, **options)
        else:
            assert model is not None
            data = changes.pop("data", data)
            recipe = registry.get(model).recipe_on(data).replace(**changes)
            out = out or _free(Path("runs") / model, distributed.restarted())
            run = training.train(model, recipe, out, **options)
    print(run)


def _free(path: Path, restarted: bool) -> Path:
    """Return the path, or the first of path-2, path-3, ... that is not taken.

    `restarted`: return the last one taken, if it was left unfinished.
    """
    number, free, last = 1, path, path
    while free.exists():
        number, last = number + 1, free
        free = path.with_name(f"{path.name}-{number}")
    return last if restarted and not (last / "card.json").exists() else free


@app.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Run folders, paths or names of bundles.",
            autocompletion=_complete_bundles,
        ),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the validation metric over the epochs as PNG."),
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs: the recipe fields that differ, and what came out."""
    from zoo.training import compare as comparison

    rows = [comparison.read(run) for run in runs]
    if plot is not None:
        with needs_extra("train", "--plot"):
            comparison.plot(rows, plot)
    if json:
        _print_json([row._asdict() for row in rows])
        return
    _print_table(comparison.table(rows), left=2)


def _print_table(lines: list[list[str]], left: int) -> None:
    """Print lines of cells; the first `left` columns are flush left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = zip(line, widths, strict=True)
        text = (
            f"{cell:<{width}}" if place < left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(cells)
        )
        print("  ".join(text).rstrip())


@app.command()
def reproduce(
    model: BundleName,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many seeds.  [default: all of the card]")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the runs go.")] = Path(
        "runs/reproduce"
    ),
    device: DeviceOption = "auto",
    json: Json = False,
) -> None:
    """Train by the card's recipe and seeds, and say whether the published figure holds."""
    with needs_extra("train", "zoo reproduce"):
        from zoo.bundle.folder import Bundle
        from zoo.training import reproduce as again

        found = again.reproduce(Bundle.open(model), seeds=seeds, out=out, device=device)
    if json:
        _print_json(found._asdict() | {"trials": [trial._asdict() for trial in found.trials]})
    else:
        _print_table(again.table(found), left=0)
    if found.problem:
        raise VerificationError(f"{found.name} is not reproduced: {found.problem}")


@app.command()
def evaluate(
    model: BundleName,
    engine: Annotated[Literal[SessionEngine, "torch"], typer.Option(help="What runs it.")] = "onnx",
    device: DeviceOption = "auto",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the confusion matrix as PNG.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure a bundle on the whole test set."""
    from zoo.bundle.folder import Bundle
    from zoo.evaluation.evaluate import evaluate as measure

    bundle = Bundle.open(model)
    card = bundle.card
    found = measure(bundle, engine=engine, device=device)
    if plot is not None:
        with needs_extra("train", "--plot"):
            from zoo import plots
        if not card.labels:
            raise UsageError(f"--plot: {card.name} is a regression, it has no confusion matrix")
        shown = msgspec.structs.replace(card, test=found.metrics).score
        plots.confusion(found.confusion, card.labels, plot, f"{card.name} {shown}")
    if json:
        _print_json(
            {
                "name": card.name,
                "engine": engine,
                "device": found.device,
                "rows": len(found.outputs),
                "metrics": found.metrics,
                "confusion": found.confusion,
            }
        )
        return
    rows = f"{len(found.outputs):,} test rows"
    print(f"{card.name} ({engine}, {found.device}) on {rows}: {_metrics(found.metrics)}")
    if card.labels:
        width = max(6, *map(len, card.labels))
        print("true \\ predicted")
        print(" " * width, *(f"{label:>{width}}" for label in card.labels))
        for label, row in zip(card.labels, found.confusion, strict=True):
            print(f"{label:>{width}}", *(f"{count or '.':>{width}}" for count in row))


@app.command()
def export(
    model: BundleName,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="PATH",
            help="The file; DIR/: a whole bundle; or triton's folder.  "
            "[default: MODEL.onnx, MODEL-int8.onnx, models]",
        ),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"],
        typer.Option(help="int8: static QDQ, calibrated on training rows."),
    ] = "fp32",
    opset: Annotated[
        int | None, typer.Option(help="15 to 26.  [default: 20; 21 for tables in int8]")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N|dynamic", help="Rows that the file takes.")
    ] = "dynamic",
    preprocess: Annotated[
        Literal["graph", "none"],
        typer.Option(help="none: the input is normalized float32 NCHW already."),
    ] = "graph",
    test_vectors: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the file there, with test_data_set_0 to 3."),
    ] = None,
    form: Annotated[
        Literal["onnx", "triton"],
        typer.Option("--format", help="triton: the bundle in a model repository."),
    ] = "onnx",
    gpu: Annotated[bool, typer.Option("--gpu", help="With triton: run it there on GPUs.")] = False,
) -> None:
    """Export a bundle's network to ONNX, and refuse if it does not agree with torch."""

    if form == "triton":
        from zoo.bundle.folder import Bundle
        from zoo.bundle.triton import repository

        kind = "gpu" if gpu else "cpu"
        print(repository([Bundle.open(model)], Path(output or "models"), kind=kind)[0])
        return
    if test_vectors and output:
        raise UsageError("--test-vectors DIR has the file in it: leave out -o")
    if batch != "dynamic" and not batch.isdecimal():
        raise UsageError(f"--batch {batch}: expected a number of rows, or dynamic")
    from zoo.bundle.card import figure
    from zoo.bundle.folder import Bundle

    bundle = Bundle.open(model)
    with needs_extra("train", "zoo export"):
        from zoo.export.bundle import export_bundle
        from zoo.export.variant import Variant
    rows = None if batch == "dynamic" else int(batch)
    variant = Variant(precision, opset, rows, preprocess)
    card = bundle.card
    suffix = "" if precision == "fp32" else f"-{precision}"
    to = test_vectors or output or f"{card.name}{suffix}.onnx"
    measured = export_bundle(bundle, to, variant, vectors=test_vectors is not None)
    print(Path(to))
    scores = ""
    if precision != "fp32":
        score, torch = (
            figure(card.metric, found[card.metric]) for found in (measured.test, measured.fp32)
        )
        scores = f"{precision} {score}, in torch {torch}; "
    print(
        f"{scores}largest difference from torch {measured.max_abs_difference:.1e}, same top-1 on "
        f"{measured.same_top1:,} of {measured.samples:,} test rows",
        file=sys.stderr,
    )


@app.command()
def push(
    model: BundleName,
    repo: Annotated[str, typer.Argument(help="user/name on the Hugging Face Hub.")],
    private: Annotated[bool, typer.Option("--private", help="If it is made.")] = False,
) -> None:
    """Upload a bundle, with a model card, to the Hugging Face Hub; hf://user/name loads it."""
    from zoo.bundle.folder import Bundle
    from zoo.bundle.upload import push as upload

    print(upload(Bundle.open(model), repo, private=private))


@app.command()
def predict(
    model: BundleName,
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, globs, .zip, .tar, .npy, .npz, IDX, .parquet; - reads "
            "paths from stdin. Tables: .csv, .npy, .npz, .parquet. Also s3://... and the like."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write .csv, .jsonl or .parquet."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    invert: Annotated[
        Literal["auto", "yes", "no"],
        typer.Option(help="Invert images; auto: those that are dark on light."),
    ] = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a job that was killed; needs -o.")
    ] = False,
    engine: Annotated[
        Literal[SessionEngine, "ray"],
        typer.Option(help="What runs it; numpy: the layers by hand; ray: ONNX on a Ray cluster."),
    ] = "onnx",
    address: Annotated[
        str | None,
        typer.Option(help="With ray: the cluster's.  [default: one of this machine's own]"),
    ] = None,
    device: SessionDeviceOption = "auto",
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
    json: Json = False,
) -> None:
    """Predict images or tables."""
    from serve.batch import sinks
    from serve.batch.run import Tally
    from serve.batch.run import run as run_locally
    from zoo.files import readable
    from zoo.runtime.session import Session

    if output is not None and json:
        raise UsageError("--json prints to stdout, -o writes a file: give one of them")
    if resume and output is None:
        raise UsageError("--resume goes on with a file: give the same -o as before")
    from zoo.bundle.folder import Bundle

    bundle = Bundle.open(model)
    card = bundle.card
    on: dict[str, Any] = {"device": device, "graphs": cuda_graphs, "fp16": fp16}
    how: dict[str, Any] = {"top": top, "invert": invert}
    run: Callable[..., Tally]
    if engine == "ray":
        if resume:
            raise UsageError("--resume is for the other engines: a Ray job outlives its workers")
        with needs_extra("ray", "--engine ray"):
            from serve.ray.batch import run as run_on_ray
        run = partial(run_on_ray, bundle, address=address, **on)
    elif address is not None:
        raise UsageError("--address is a Ray cluster's: give --engine ray too")
    else:  # not spinning: the cores decode meanwhile
        run = partial(run_locally, Session(bundle, engine=engine, spin=False, **on))
    kept = sinks.Collect() if json else None
    if output is None:
        tally = run(inputs, kept or sinks.Table(), **how)
    else:
        given = [readable(text) for text in inputs]
        what = {"files": card.files, "inputs": given, **how, "engine": engine}
        job = sinks.Job(output, what, resume)
        if resume:
            how["skip"] = job.done
        with job.open() as sink:
            tally = run(inputs, sink, **how)
    if kept is not None:
        _print_json({"model": card.name, "device": tally.device, "rows": kept.rows})
    sys.stdout.flush()
    speed = tally.rows / tally.seconds if tally.seconds else 0
    print(f"{tally.rows:,} rows on {tally.device}, {speed:,.0f} rows/s", file=sys.stderr)
    if tally.failed:
        print(
            f"zoo: {tally.failed:,} of {tally.rows:,} inputs failed, first {tally.first_error}",
            file=sys.stderr,
        )
        raise typer.Exit(3 if tally.failed < tally.rows else 1)


@app.command()
def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names or paths.  [default: all shipped models]"),
    ] = None,
    device: DeviceOption = "auto",
    json: Json = False,
) -> None:
    """Re-check hashes, and measure every ONNX file on the whole test set against its card."""
    from zoo.evaluation.verify import verify as check

    verdicts = []
    from zoo.bundle.folder import locate, shipped

    paths = [locate(model) for model in models or shipped()]
    for path in paths:
        verdict = check(path, device=device)
        verdicts.append(verdict)
        if not json:
            print(
                f"{verdict.name:<12}card {verdict.card:<9}  measured {verdict.measured:<9}  "
                f"{verdict.problem or 'ok'}"
            )
    if json:
        _print_json([verdict._asdict() for verdict in verdicts])
    bad = [verdict.name for verdict in verdicts if verdict.problem]
    if bad or not verdicts:
        raise VerificationError(f"verification failed: {', '.join(bad) or 'no bundle found'}")


@app.command()
def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Names or paths of bundles, NAME=PATH to rename.  [default: all shipped models]"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    grpc_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Answer gRPC there too; 0 takes a free one."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    device: SessionDeviceOption = "auto",
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
    threads: Annotated[int, typer.Option(min=0, help="Of a model's run; 0: all cores.")] = 1,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows in a batch.")] = 64,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that may wait, a model.")] = 512,
    timeout: Annotated[float, typer.Option(min=0.01, help="Seconds for a request.")] = 10.0,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of a body.")] = 16_000_000,
    access_log: Annotated[bool, typer.Option(help="One line a request on stderr.")] = True,
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="Of the access log.")
    ] = "text",
) -> None:
    """Serve models over HTTP: the Open Inference Protocol V2, and a page to draw digits on."""
    from serve.options import Options, bundles
    from serve.server import bind, grpc_address
    from serve.server import serve as run
    from zoo.bundle.folder import shipped

    if grpc_port and grpc_port == port:
        raise UsageError(f"--port and --grpc-port are both {port}: expected two ports")
    options = Options(
        models=tuple(models or shipped()),
        device=device,
        graphs=cuda_graphs,
        fp16=fp16,
        threads=threads,
        max_batch=max_batch,
        max_queue=max_queue,
        timeout=timeout,
        max_body=max_body,
        log=log_format if access_log else "off",
        grpc="" if grpc_port is None else grpc_address(host, grpc_port),
    )
    bundles(options.models)  # what is wrong with them is told before the address
    listener = bind(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}/"
    lines = [address, f"grpc://{options.grpc}"] if options.grpc else [address]
    run(options, listener, workers, lambda: print(*lines, sep="\n", flush=True))


@app.command()
def benchmark(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names or paths of bundles.  [default: all shipped models]"),
    ] = None,
    engine: Annotated[SessionEngine, typer.Option(help="What runs it.")] = "onnx",
    device: Annotated[
        SessionDevice, typer.Option(help="auto measures every device that is there.")
    ] = "auto",
    cuda_graphs: CudaGraphs = False,
    fp16: Fp16 = False,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Rows in a run; repeatable.  [default: 1, 8, 64, 256, 1024]"),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.01, help="For each measurement.")] = 0.5,
    threads: Annotated[int, typer.Option(min=0, help="On the CPU; 0: all cores.")] = 0,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw rows/s over batch size as PNG.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure rows/s and latency by batch size and device."""
    from zoo.bundle.folder import shipped
    from zoo.runtime import benchmark as bench

    found = bench.benchmark(
        models or shipped(),
        device,
        batch or bench.BATCHES,
        seconds,
        engine=engine,
        threads=threads,
        graphs=cuda_graphs,
        fp16=fp16,
    )
    if plot is not None:
        with needs_extra("train", "--plot"):
            bench.plot(found, plot)
    if json:
        _print_json(bench.report(found, engine))
        return
    print(f"{'model':<12}{'device':<8}{'batch':>6}{'rows/s':>14}{'p50 ms':>10}{'p99 ms':>10}")
    for each in found:
        print(
            f"{each.model:<12}{each.device:<8}{each.batch:>6}{each.rows_per_second:>14,.0f}"
            f"{each.p50_ms:>10.3f}{each.p99_ms:>10.3f}"
        )


@app.command()
def doctor(json: Json = False) -> None:
    """Report versions, devices and what really loads, with the line that mends each fault."""
    from zoo.doctor import examine

    findings = examine()
    if json:
        _print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            print(f"{finding.status:<7} {finding.check:<23} {finding.detail}")
            if finding.mend:
                print(f"{'':<7} {'':<23} -> {finding.mend}")
    if any(finding.status == "broken" for finding in findings):
        raise typer.Exit(1)


def _complete_lessons() -> list[str]:
    from zoo import lessons

    return list(lessons.ORDER)


@app.command()
def lesson(
    name: Annotated[
        str | None,
        typer.Argument(help="Run this one.", autocompletion=_complete_lessons),
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
    found = lessons.lessons()
    if json:
        _print_json(found)
        return
    for each in found:
        script = os.path.relpath(each.script)
        print(f"{each.name:<27} {each.heading_zh} · {each.heading_en}  ({script})")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where it writes.")] = Path(
        "demo-report"
    ),
    epochs: Annotated[int, typer.Option(min=1, help="Of the training.")] = 3,
    device: DeviceOption = "auto",
) -> None:
    """Take the tour: train, export, prove the export, predict real digits, write a report."""
    from serve.demo import demo as tour

    report = tour(out, epochs=epochs, device=device)
    print(report)
    print(
        f"open the report in a browser, then try:\n"
        f"  zoo list\n"
        f"  zoo predict resnet {out / 'digits'}\n"
        f"  zoo train softmax\n"
        f"  zoo verify",
        file=sys.stderr,
    )


def main() -> None:
    """Run the command line."""
    if "--debug" in sys.argv[2:]:  # welcome anywhere, not only before the command
        sys.argv.remove("--debug")
        sys.argv.insert(1, "--debug")
    app(prog_name="zoo")


if __name__ == "__main__":
    main()
