"""API keys: read from where no other user sees them, compared without telling how nearly."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from pathlib import Path

from zoo.errors import UsageError

VARIABLE = "ZOO_API_KEY"


def read(file: Path | None) -> tuple[str, ...]:
    """Return the keys of a file, one a line, or that of the environment; none: no key is needed.

    A command line shows in `ps`, and so is no place for a key.

    Raises:
        UsageError: the file cannot be read, has no key, or one that no header can hold.
    """
    if file is None:
        value = os.environ.pop(VARIABLE, None)  # what this process starts need not know it
        source, text = VARIABLE, value
    else:
        source = f"--api-key-file {file}"
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source}: {getattr(error, 'strerror', None) or error}") from None
    if text is None:
        return ()
    keys = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not keys or not all(key.isascii() and key.isprintable() and " " not in key for key in keys):
        raise UsageError(f"{source}: expected a key in a line, of printable ASCII without spaces")
    return keys


def accepted(keys: list[bytes], authorization: bytes | None, header: bytes | None) -> bool:
    """Return whether a request has one of the keys, in a time that does not tell how nearly.

    Args:
        keys: the valid ones.
        authorization: the header of that name: "Bearer KEY", or "Basic" with KEY as the password.
        header: the header x-api-key.
    """
    given = header
    if authorization is not None:
        scheme, _, given = authorization.partition(b" ")
        given = given.strip()
        if scheme.lower() == b"basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        elif scheme.lower() != b"bearer":
            return False
    if given is None:
        return False
    right = [hmac.compare_digest(given, key) for key in keys]  # all of them, always
    return any(right)
