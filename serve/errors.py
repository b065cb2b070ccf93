"""What the server answers when it cannot answer: a status and one line, always as JSON."""

from __future__ import annotations

import msgspec

#: The body of a 500; the reason may tell more of the server than clients need.
FAILED = b'{"error":"the server failed; its log says more"}'


class HttpError(Exception):
    """An error for the client; `headers` go into the answer.

    Attributes:
        model: the name of the model that was asked for, where the one who counts cannot know it.
    """

    model = ""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    @property
    def body(self) -> bytes:
        """The body: `{"error": "..."}`."""
        return msgspec.json.encode({"error": str(self)})


class Unsupported(HttpError):
    """A part of the protocol that this server does not have: 400; over gRPC, UNIMPLEMENTED."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


def overloaded(message: str) -> HttpError:
    """Build the 503 that asks the client to come again in a second."""
    return HttpError(503, message, retry_after="1")


def stopping() -> HttpError:
    """Build the 503 for requests that arrive while the server drains."""
    return overloaded("the server is stopping")
