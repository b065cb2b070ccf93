"""The Hub's model card of a bundle: metadata that the Hub reads, and `readme.md` filled in."""

from __future__ import annotations

from pathlib import Path
from string import Template

from zoo.bundle.card import ONNX, Card
from zoo.bundle.hub import LIBRARY
from zoo.spec import ImageSpec

#: The Hub's names of datasets and metrics, where they differ from ours.
_DATASETS = {"mnist": "ylecun/mnist"}
_METRICS = {"r2": "r_squared"}


def readme(card: Card, repo: str) -> str:
    """Return the model card's text; `repo` is user/name on the Hub."""
    from huggingface_hub import EvalResult, ModelCardData

    image = isinstance(card.spec, ImageSpec)
    kind = "regression" if card.task == "regression" else "classification"
    task = f"{'image' if image else 'tabular'}-{kind}"
    dataset = _DATASETS.get(card.dataset.name, card.dataset.name)
    metrics = {_METRICS.get(name, name): value for name, value in card.test.items()}
    data = ModelCardData(
        language="en",
        license=card.license.lower(),
        library_name=LIBRARY,
        pipeline_tag=task,
        tags=["onnx", "pytorch", "safetensors", "tutorial", card.name],
        datasets=[dataset],
        metrics=[name for name in metrics if name != "loss"],
        model_name=card.name,
        eval_results=[
            EvalResult(
                task_type=task,
                dataset_type=dataset,
                dataset_name=card.dataset.name,
                dataset_split="test",
                metric_type=name,
                metric_value=value,
            )
            for name, value in metrics.items()
        ],
    )
    tensors = [("input", tensor) for tensor in card.inputs]
    tensors += [("output", tensor) for tensor in card.outputs]
    template = Template((Path(__file__).parent / "readme.md").read_text(encoding="utf-8"))
    return template.substitute(
        metadata=data.to_yaml().strip(),
        title=card.title,
        name=card.name,
        parameters=f"{card.parameters:,}",
        score=card.score,
        repo=repo,
        onnx=ONNX,
        tensors="\n".join(
            f"| {role} | `{tensor.name}` | {tensor.dtype} | [{', '.join(map(str, tensor.shape))}] |"
            for role, tensor in tensors
        ),
        input=card.inputs[0].name,
        takes="uint8 images as a decoder returns them" if image else "unscaled float32 features",
        labels=f"\nClasses, in order: {', '.join(card.labels)}.\n" if card.labels else "",
        test_rows=f"{card.dataset.test:,}",
        figures="\n".join(f"| {name} | {value:.6g} |" for name, value in card.test.items()),
        robustness=_robustness(card),
        source=card.dataset.source,
        data_license=card.dataset.license,
        train_rows=f"{card.dataset.train:,}",
        validation_rows=f"{card.dataset.validation:,}",
        training=_training(card),
        limits=card.limits,
    )


def _training(card: Card) -> str:
    """Return the sentence that says where the weights come from."""
    training = card.training
    if training.imported:
        return f"The weights were trained elsewhere, and imported by `{training.command}`"
    return f"Trained by `{training.command}` in {training.seconds:.0f} s on {training.hardware}"


def _robustness(card: Card) -> str:
    """Return a paragraph about digits as people draw and photograph them, or nothing."""
    if (found := card.robustness) is None:
        return ""
    return (
        f"\nOn {found.pictures:,} digits drawn, printed and photographed under {found.conditions} "
        f"conditions: accuracy {found.accuracy:.4f}, without preparation {found.plain:.4f}.\n"
    )
