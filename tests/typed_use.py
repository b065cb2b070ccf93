"""A user's program as mypy sees it: `make check` reads it, nobody runs it.

In strict mode an ignored error that is none is an error itself.
"""

import zoo

zoo.load("cnn").eval()
print(zoo.Session("cnn").predict([]).labels)
zoo.lod("cnn")  # type: ignore[attr-defined]
zoo.Session("cnn").predikt(1)  # type: ignore[attr-defined]
