"""The Hugging Face Hub: bundles that come from there, and what can go wrong on the way.

zoo.Session("hf://user/cnn")            # or hf://user/cnn@revision, wherever a bundle is named
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.bundle.card import CARD, ONNX, WEIGHTS
from zoo.errors import UsageError, ZooError, first_line, needs_extra
from zoo.version import __version__

SCHEME = "hf://"
LIBRARY = "torch-tutorial-zoo"


def download(address: str) -> Path:
    """Fetch a bundle into huggingface_hub's cache; what is there already is not fetched again.

    Args:
        address: hf://user/repo or hf://user/repo@revision.

    Raises:
        UsageError: no such repository or revision, or not a bundle.
        ZooError: huggingface_hub is not installed, or the Hub cannot be reached.
    """
    repo, _, revision = address.removeprefix(SCHEME).partition("@")
    with needs_extra("hub", address):
        from huggingface_hub import snapshot_download
    with one_line(address):
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
        raise UsageError(f"{address} is not a bundle: {CARD} is missing")
    return folder


@contextmanager
def one_line(address: str) -> Iterator[None]:
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
        said = error.server_message or first_line(error)
        raise ZooError(f"{address}: {said} (HTTP {error.response.status_code})") from None
    except Exception as error:  # its HTTP library's own errors: requests, then httpx, then httpx2
        said = first_line(error)
        raise ZooError(f"{address}: {constants.ENDPOINT}: {said}") from error
