"""Imports point one way, `import bolearn` stays light, and the types ship with the package."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bolearn"

# Lower rooms first; a module imports from its own room or from lower ones. ON_TOP stands above the
# core, so nothing in the core imports it.
CORE = (
    ("errors", "shapes", "seeds"),
    ("protocols", "numerics", "linalg", "transforms", "posteriors", "sampling", "pareto", "boxes"),
    ("stats", "attainment"),
    ("optim", "convergence", "mcmc"),
    ("space",),
    ("models",),
    ("paths",),
    ("acquisition",),
    ("search",),
    ("strategies",),
    ("studies",),
    ("campaign",),
)
ON_TOP = (
    ("data",),
    ("dynamics", "problems", "diagnostics", "bridge"),
    ("plotting",),
    ("teach", "__main__"),
)
LEVEL = {name: level for level, layer in enumerate(CORE + ON_TOP) for name in layer}
BRIDGE_ONLY = ("botorch", "ax")
HEAVY = ("matplotlib", "pandas", "IPython", "scipy.optimize", "sklearn", "bolearn.plotting")


def modules() -> list[Path]:
    """The package's files, its `__init__.py` (a plain list of imports) apart."""
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def room(path: Path) -> str:
    """The top-level module or folder that a file belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import of a file, inside functions too."""
    package = ["bolearn", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{origin}.{alias.name}"


def test_every_module_has_its_place_in_the_order() -> None:
    unknown = {room(p) for p in modules()} - set(LEVEL)
    assert not unknown, f"give these a layer in CORE or ON_TOP: {sorted(unknown)}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_point_one_way(path: Path) -> None:
    own = room(path)
    for line, name in imported(path):
        parts = name.split(".")
        if parts[0] != "bolearn":
            continue
        where = f"{path.relative_to(ROOT).as_posix()}:{line} imports {name}"
        assert len(parts) > 1, f"{where}: import from the module that defines what is needed"
        assert LEVEL[parts[1]] <= LEVEL[own], f"{where}, which is a higher layer"


@pytest.mark.parametrize("path", modules(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_only_the_bridge_knows_other_optimisation_libraries(path: Path) -> None:
    foreign = {name for _, name in imported(path) if name.split(".")[0] in BRIDGE_ONLY}
    assert room(path) == "bridge" or not foreign


def test_importing_the_package_loads_nothing_heavy() -> None:
    # gpytorch or torch may load some of these by themselves: only what bolearn adds counts.
    code = (
        "import sys, torch, gpytorch\n"
        "before = set(sys.modules)\n"
        "import bolearn\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules and m not in before])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_types_ship_with_the_package() -> None:
    assert (PACKAGE / "py.typed").is_file()
