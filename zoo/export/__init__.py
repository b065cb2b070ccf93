"""Export to ONNX: the graph, its parity with torch, its variants and test vectors.

The package can be called: `zoo.export(network, example, "net.onnx")` is `export_network`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """The package under the name of its main function, as users expect it: `zoo.export(...)`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        from zoo.export.network import export_network

        return export_network(*args, **options)


sys.modules[__name__].__class__ = _Callable
