"""`zoo push`: uploads a bundle and a model card to the Hugging Face Hub, in one commit."""

from __future__ import annotations

from zoo.bundle.card import CARD
from zoo.bundle.folder import Bundle
from zoo.bundle.hub import LIBRARY, SCHEME, hub_errors
from zoo.bundle.readme import readme
from zoo.errors import needs_extra
from zoo.version import __version__

_PICTURES = ("curves.png", "confusion.png")


def push(bundle: Bundle, repo: str, *, private: bool = False) -> str:
    """Upload a bundle's files and a model card; create the repository if it does not exist.

    Args:
        bundle: what to upload.
        repo: user/name or organization/name on the Hub. The token is huggingface_hub's: the
            environment variable HF_TOKEN, or the one that `hf auth login` stored.
        private: make a new repository private.

    Returns:
        The repository's address.

    Raises:
        VerificationError: a file does not match the card; nothing was uploaded.
        ZooError: huggingface_hub is not installed; the Hub refused or cannot be reached.
    """
    bundle.check()
    repo = repo.removeprefix(SCHEME)
    with needs_extra("hub", "zoo push"):
        from huggingface_hub import CommitOperationAdd, HfApi
    names = [CARD, *bundle.card.files]
    names += [name for name in _PICTURES if (bundle.path / name).is_file()]
    with hub_errors(SCHEME + repo):
        api = HfApi(library_name=LIBRARY, library_version=__version__)
        # None, not False: public, or the organization's default
        url = api.create_repo(repo, private=private or None, exist_ok=True)
        files = [CommitOperationAdd(name, bundle.path / name) for name in names]
        files.append(CommitOperationAdd("README.md", readme(bundle.card, repo).encode()))
        message = f"{bundle.card.name}, {bundle.card.score}"
        api.create_commit(repo, files, commit_message=message)
    return str(url)
