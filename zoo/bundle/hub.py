"""The Hugging Face Hub: bundles are downloaded from it, and its errors become one line each.

zoo.Session("hf://user/cnn")            # or hf://user/cnn@revision, as any bundle's name
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
    """Download a bundle into huggingface_hub's cache; cached files are not downloaded again.

    Args:
        address: hf://user/repo or hf://user/repo@revision.

    Raises:
        UsageError: no such repository or revision, or not a bundle.
        ZooError: huggingface_hub is not installed, or the Hub cannot be reached.
    """
    repo, _, revision = address.removeprefix(SCHEME).partition("@")
    with needs_extra("hub", address):
        from huggingface_hub import snapshot_download
    with hub_errors(address):
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
def hub_errors(address: str) -> Iterator[None]:
    """Turn huggingface_hub's exceptions into errors of one line."""
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
        reason = "HF_HUB_OFFLINE is set"
        if not constants.HF_HUB_OFFLINE:
            reason = f"{constants.ENDPOINT} cannot be reached"
        raise ZooError(f"{address}: not in the cache, and {reason}") from None
    except errors.HfHubHTTPError as error:
        reason = error.server_message or first_line(error)
        raise ZooError(f"{address}: {reason} (HTTP {error.response.status_code})") from None
    except Exception as error:  # of its HTTP library: requests or httpx, by version
        raise ZooError(f"{address}: {constants.ENDPOINT}: {first_line(error)}") from error
