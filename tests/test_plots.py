"""Pictures with names in Chinese: drawn where there is a font, and said where there is none."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest

from zoo import plots


def test_a_missing_font_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(mpl.rcParams, "font.family", ["DejaVu Sans"])
    plots.confusion([[3, 0], [1, 2]], ["cat", "dog"], Path("a.png"), "pets")
    assert capsys.readouterr().err == ""
    plots.confusion([[3, 0], [1, 2]], ["猫", "狗"], Path("b.png"), "宠物")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("zoo: b.png: no font here has all characters")
    assert "fonts-noto-cjk" in line
    assert Path("b.png").stat().st_size > 1000
