"""The house: imports point one way, no circle, and torch and onnxruntime stay in their rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

#: The rooms, from the ground up; a file imports from its own room and from those above it here.
FLOORS = (
    ("zoo/version.py", "zoo/errors.py", "zoo/install.py", "zoo/language.py"),
    ("zoo/files.py", "zoo/progress.py", "zoo/hardware.py", "zoo/spec.py", "zoo/table.py"),
    ("zoo/fields.py",),
    ("zoo/help.py",),
    ("zoo/recipe.py",),
    ("zoo/entry.py",),
    ("zoo/registry.py", "zoo/models/", "zoo/preparation.py", "zoo/arrays.py"),
    ("zoo/images.py",),
    ("zoo/datasets/",),
    ("zoo/bundle/",),
    ("zoo/plots.py",),
    ("zoo/scratch/",),
    ("zoo/runtime/",),
    ("zoo/network/",),
    ("zoo/evaluation/",),
    ("zoo/export/",),
    ("zoo/training/",),
    ("zoo/lessons/", "zoo/exercises/", "zoo/doctor.py"),
    ("zoo/__init__.py", "zoo/__main__.py"),
    ("serve/",),
    ("cli.py",),
)
#: Where torch, and where onnxruntime, may be imported when a module is loaded.
TORCH_ROOMS = (
    "zoo/models/", "zoo/network/", "zoo/training/", "zoo/export/", "zoo/datasets/folder.py",
)  # fmt: skip
ONNXRUNTIME_ROOMS = ("zoo/runtime/",)

FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "cli.py", *(ROOT / "zoo").rglob("*.py"), *(ROOT / "serve").rglob("*.py"))
)


def imports(file: str, *, at_load: bool = False) -> Iterator[str]:
    """Yield the modules that a file imports; `at_load`: those of its top level alone."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            if at_load and (typing_only or function):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            assert node.module
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if file_of(name) else node.module for name in names)


def file_of(module: str) -> str | None:
    """Return the file of a module of ours, or None for another's and for names in a module."""
    path = Path(*module.split("."))
    for name in (path.with_suffix(".py"), path / "__init__.py"):
        if name.as_posix() in FILES:
            return name.as_posix()
    return None


def arrows(file: str) -> set[str]:
    files = {file_of(module) for module in imports(file)}
    return {other for other in files if other not in (None, file)}


def floor(file: str) -> int:
    (number,) = (n for n, rooms in enumerate(FLOORS) for room in rooms if file.startswith(room))
    return number


@pytest.mark.parametrize("file", FILES)
def test_imports_point_to_the_ground(file: str) -> None:
    assert not {other for other in arrows(file) if floor(other) > floor(file)}


def test_no_file_imports_itself_by_way_of_others() -> None:
    graph = {file: arrows(file) for file in FILES}
    done: set[str] = set()

    def visit(file: str, way: list[str]) -> None:
        assert file not in way, f"circle: {' -> '.join([*way[way.index(file) :], file])}"
        if file not in done:
            for other in sorted(graph[file]):
                visit(other, [*way, file])
            done.add(file)

    for file in FILES:
        visit(file, [])


@pytest.mark.parametrize("file", FILES)
def test_torch_and_onnxruntime_stay_in_their_rooms(file: str) -> None:
    tops = {module.partition(".")[0] for module in imports(file, at_load=True)}
    if not file.startswith(TORCH_ROOMS):
        assert not tops & {"torch", "torchvision"}
    everywhere = {module.partition(".")[0] for module in imports(file)}
    if not file.startswith(ONNXRUNTIME_ROOMS):
        # onnxruntime's quantization is a tool of export, not what runs a model
        assert "onnxruntime" not in everywhere or file == "zoo/export/precision.py"


def test_every_function_can_be_read_on_one_screen() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                assert lines <= 80, f"{file}: {node.name} has {lines} lines"
