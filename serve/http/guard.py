"""Who may ask: the Host header, the page that a browser's request comes from, and the API key.

A server on loopback is not out of reach: a page from anywhere can send requests there from the
user's browser, and by a name of its own that it lets resolve to 127.0.0.1 (DNS rebinding) it could
read the answers, too.
"""

from __future__ import annotations

from typing import Any

from serve.errors import HttpError
from serve.keys import accepted
from serve.options import Options

_SAFE = ("GET", "HEAD", "OPTIONS")
_OWN = (b"same-origin", b"none")  # "none": the user typed the address
HEALTH = ("/v2/health/live", "/v2/health/ready")
#: Host headers that are kept as good; there are never many.
_KEPT = 1000


class Guard:
    """Looks at a request's headers before anything else does."""

    def __init__(self, options: Options) -> None:
        self._hosts = frozenset(host.lower() for host in options.hosts)
        self._origins = frozenset(origin.encode() for origin in options.origins)
        self._any_host = "*" in self._hosts
        self._any_origin = "*" in options.origins
        self._keys = [key.encode() for key in options.keys]
        self._open = frozenset(options.root_path + path for path in HEALTH)
        self._good_hosts: set[bytes] = set()

    def check(self, scope: Any) -> None:
        """Let a request pass.

        Args:
            scope: its ASGI scope.

        Raises:
            HttpError: 400 for a name that is not the server's, 403 for a page of another site, 401
                without the key.
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        if not self._any_host and host not in self._good_hosts:
            self._check_host(scope, host)
        if scope["method"] not in _SAFE:
            self._check_origin(headers, host)
        if self._keys and scope["path"] not in self._open:
            self._check_key(headers)

    def _check_host(self, scope: Any, host: bytes) -> None:
        if not host and scope["http_version"] == "1.0":
            return  # some health checks; browsers always send one
        name = host.decode("latin-1").lower()
        bare = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() else name
        bare = bare.strip("[]").removesuffix(".")
        parents = ("*." + bare.split(".", n)[-1] for n in range(1, bare.count(".") + 1))
        if bare not in self._hosts and not any(parent in self._hosts for parent in parents):
            raise HttpError(
                400, f"Host {name[:100]!r} is not a name of this server; see --allowed-hosts"
            )
        if len(self._good_hosts) < _KEPT:
            self._good_hosts.add(host)

    def _check_origin(self, headers: dict[bytes, bytes], host: bytes) -> None:
        """Refuse what another site's page sends.

        As CrossOriginProtection of Go's net/http: browsers say themselves where a request comes
        from, other clients send neither header.
        """
        site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
        if site in _OWN or (site is None and origin is None):
            return
        if self._any_origin or origin in self._origins:
            return
        if site is None and origin is not None and origin.partition(b"://")[2] == host:
            return
        where = (origin or b"another site").decode("latin-1")
        raise HttpError(403, f"refused from a page of {where[:100]!r}; see --cors-origin")

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        if not accepted(self._keys, headers.get(b"authorization"), headers.get(b"x-api-key")):
            raise HttpError(
                401,
                "expected the API key: Authorization: Bearer KEY",
                www_authenticate='Basic realm="zoo", charset="UTF-8"',  # browsers ask for it
            )
