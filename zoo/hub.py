"""The Hugging Face Hub: a bundle goes there with a model card, and comes back as a bundle.

push("cnn", "user/cnn")                 # a shipped bundle's name, or any bundle's path
zoo.Session("hf://user/cnn")            # or hf://user/cnn@revision, wherever a bundle is named
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo import cards
from zoo.cards import CARD, ONNX, WEIGHTS, Card
from zoo.errors import UsageError, ZooError, needs_extra
from zoo.spec import ImageSpec, TensorSpec
from zoo.version import __version__

SCHEME = "hf://"
LIBRARY = "torch-tutorial-zoo"
_PICTURES = ("curves.png", "confusion.png")
#: What the Hub calls our data sets and metrics, where it knows them by another name.
_DATASETS = {"mnist": "ylecun/mnist"}
_METRICS = {"r2": "r_squared"}


def download(address: str) -> Path:
    """Fetch a bundle into huggingface_hub's cache; what is there already is not fetched again.

    Args:
        address: hf://user/repo or hf://user/repo@revision.

    Raises:
        UsageError: no such repository or revision, or no bundle in it.
        ZooError: huggingface_hub is not installed, or the Hub cannot be reached.
    """
    repo, _, revision = address.removeprefix(SCHEME).partition("@")
    with needs_extra("hub", address):
        from huggingface_hub import snapshot_download
    with _one_line(address):
        folder = Path(
            snapshot_download(
                repo,
                revision=revision or None,
                allow_patterns=[CARD, WEIGHTS, ONNX],
                library_name=LIBRARY,
                library_version=__version__,
            )
        )
    if not (folder / CARD).is_file():
        raise UsageError(f"{address} is no bundle: {CARD} is missing")
    return folder


def push(bundle: str | os.PathLike[str], repo: str, *, private: bool = False) -> str:
    """Upload a bundle's files and a model card in one commit; make the repository if need be.

    Args:
        bundle: a shipped bundle's name, or the path of a bundle.
        repo: user/name or organisation/name on the Hub. The token is huggingface_hub's: the
            environment variable HF_TOKEN, or what `hf auth login` stored.
        private: make the repository private, if it is made.

    Returns:
        The repository's address.

    Raises:
        VerificationError: the bundle is not what its card says; nothing was uploaded.
        ZooError: huggingface_hub is not installed; the Hub refused or cannot be reached.
    """
    folder = cards.locate(bundle)
    card = cards.read(folder)
    cards.check(folder, card)
    repo = repo.removeprefix(SCHEME)
    with needs_extra("hub", "zoo push"):
        from huggingface_hub import CommitOperationAdd, HfApi
    names = [CARD, *card.files, *(name for name in _PICTURES if (folder / name).is_file())]
    with _one_line(SCHEME + repo):
        api = HfApi(library_name=LIBRARY, library_version=__version__)
        # None: public, or what the organisation has as its default
        url = api.create_repo(repo, private=private or None, exist_ok=True)
        files = [CommitOperationAdd(name, folder / name) for name in names]
        files.append(CommitOperationAdd("README.md", readme(card, repo).encode()))
        api.create_commit(repo, files, commit_message=f"{card.name}, {card.score}")
    return str(url)


def readme(card: Card, repo: str) -> str:
    """Return the model card: the metadata block that the Hub reads, then text for people."""
    from huggingface_hub import EvalResult, ModelCardData

    image = isinstance(card.spec, ImageSpec)
    task = ("image-" if image else "tabular-") + (
        "regression" if card.task == "regression" else "classification"
    )
    dataset = _DATASETS.get(card.dataset.name, card.dataset.name)
    metrics = {_METRICS.get(name, name): value for name, value in card.test.items()}
    data = ModelCardData(
        language="en",
        license=card.licence.lower(),
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
    labels = f"\nClasses, in order: {', '.join(card.labels)}.\n" if card.labels else ""
    figures = "\n".join(f"| {name} | {value:.6g} |" for name, value in card.test.items())
    what = "uint8 images as a decoder returns them" if image else "float32 features, not scaled"
    return f"""---
{data.to_yaml().strip()}
---

# {card.title} (`{card.name}`)

{card.parameters:,} parameters, {card.score} on the test set. A bundle of {LIBRARY}: the weights
(`{WEIGHTS}`), the same network as an ONNX file with all preprocessing inside (`{ONNX}`), and
everything that is known of it (`{CARD}`).

## Contract

| | name | type | shape |
|---|---|---|---|
{_rows("input", card.inputs)}
{_rows("output", card.outputs)}

The input is {what}; scaling and normalising are in the graph.
{labels}
## Usage

```python
import zoo  # pip install "{LIBRARY}[hub]"

session = zoo.Session("{SCHEME}{repo}")  # ONNX Runtime, no torch; the file's SHA-256 is checked
found = session.predict(inputs)
model = zoo.load("{SCHEME}{repo}")  # nn.Module with these weights; needs the extra "train"
```

With ONNX Runtime alone:

```python
import onnxruntime as ort
from huggingface_hub import hf_hub_download

session = ort.InferenceSession(hf_hub_download("{repo}", "{ONNX}"))
outputs = session.run(None, {{"{card.inputs[0].name}": inputs}})
```

## Figures

Measured on the whole test set ({card.dataset.test:,} rows), which chose nothing:

| metric | value |
|---|--:|
{figures}

## Training

Data: {card.dataset.source} (licence: {card.dataset.licence}); {card.dataset.train:,} rows for
training, {card.dataset.validation:,} for validation. Made by `{card.training.command}` in
{card.training.seconds:.0f} s on {card.training.hardware}; the recipe and the files' SHA-256 are in
`{CARD}`.

## Limits

{card.limits}
"""


def _rows(kind: str, tensors: tuple[TensorSpec, ...]) -> str:
    return "\n".join(
        f"| {kind} | `{tensor.name}` | {tensor.dtype} | [{', '.join(map(str, tensor.shape))}] |"
        for tensor in tensors
    )


@contextmanager
def _one_line(address: str) -> Iterator[None]:
    """Turn what goes wrong between here and the Hub into one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.RevisionNotFoundError:
        raise UsageError(f"{address}: the repository has no such revision") from None
    except errors.RepositoryNotFoundError:
        raise UsageError(
            f"{address}: no such repository on {constants.ENDPOINT}, or it is private"
        ) from None
    except errors.HFValidationError:
        raise UsageError(f"{address}: expected hf://user/repo or hf://user/repo@revision") from None
    except errors.OfflineModeIsEnabled:
        raise ZooError(f"{address}: HF_HUB_OFFLINE is set") from None
    except errors.LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set"
        if not constants.HF_HUB_OFFLINE:
            why = f"{constants.ENDPOINT} cannot be reached"
        raise ZooError(f"{address}: not in the cache, and {why}") from None
    except errors.HfHubHTTPError as error:
        said = error.server_message or str(error).strip().partition("\n")[0]
        raise ZooError(f"{address}: {said} (HTTP {error.response.status_code})") from None
    except Exception as error:  # its HTTP library's own errors: requests, then httpx, then httpx2
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ZooError(f"{address}: {constants.ENDPOINT}: {said}") from error
