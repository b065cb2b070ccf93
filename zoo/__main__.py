"""The command `zoo`, and `python -m zoo`: finds `cli.py` and starts it.

In the repository `cli.py` lies beside the package, in a wheel it is `zoo/_cli.py`: by its path and
not by its name, since other packages have a module `cli`, too.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).parent


def main() -> None:
    """Run the command line."""
    packaged = _HERE / "_cli.py"
    file = packaged if packaged.exists() else _HERE.parent / "cli.py"
    spec = importlib.util.spec_from_file_location("zoo._cli", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.main()


if __name__ == "__main__":
    main()
