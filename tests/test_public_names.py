"""The public names: what a type checker sees is what an interpreter finds."""

import ast
import importlib
from pathlib import Path

import pytest

import bolearn as bl

INIT = Path(bl.__file__)


def names_for_type_checkers() -> dict[str, str]:
    """Name -> module of the imports under ``if TYPE_CHECKING``."""
    block = next(
        node
        for node in ast.parse(INIT.read_text(encoding="utf-8")).body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom), ast.unparse(node)
        for alias in node.names:
            assert alias.asname == alias.name, f"{alias.name}: write 'as {alias.name}' to re-export"
            found[alias.name] = node.module or ""
    return found


def test_both_lists_of_public_names_agree() -> None:
    assert names_for_type_checkers() == bl._HOME
    assert sorted(bl.__all__) == sorted(names_for_type_checkers())


@pytest.mark.parametrize("name", sorted(names_for_type_checkers()))
def test_every_public_name_is_found(name: str) -> None:
    home = names_for_type_checkers()[name]
    value = getattr(bl, name)
    expected = importlib.import_module(f"bolearn.{home or name}")
    assert value is (getattr(expected, name) if home else expected)
    assert name in dir(bl)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        bl.nonsense  # noqa: B018
