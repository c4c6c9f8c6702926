"""Digests of the package code that a notebook depends on, found without running anything.

Stored outputs go stale when the package changes, and comparing cells does not see it. So a worked
notebook records a digest of every bolearn module that its code reaches: the modules that define
the names it uses, and what those import, followed statically (imports that serve annotations only
apart). A digest is taken of the syntax tree without docstrings; comments, docstrings and layout
therefore never make a notebook stale.

A package's ``__init__.py`` that merely re-exports a name is looked through, otherwise everything
would depend on everything. Exercise files count only for the tutorial that shows them.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = "bolearn"
EXERCISES = f"{PACKAGE}.teach.exercises"

# A name as it is written, with the attributes taken from it: bl.problems.Branin.
Chain = tuple[str, tuple[str, ...]]
# What it stands for: a module, and the names to look up from there.
Target = tuple[str, tuple[str, ...]]


def digest_of_code(text: str) -> str:
    """A digest of Python code that ignores comments, docstrings and layout.

    It is the same under every Python version that parses the text, unlike ``ast.dump``.
    """
    return hashlib.sha256(_fingerprint(ast.parse(text)).encode()).hexdigest()[:16]


def _fingerprint(node: object) -> str:
    if isinstance(node, ast.JoinedStr):  # Python 3.12.1 ends nested format specifications in ""
        parts = [v for v in node.values if not (isinstance(v, ast.Constant) and v.value == "")]
        return f"JoinedStr({_fingerprint(parts)})"
    if isinstance(node, ast.AST):
        fields = (
            f"{name}={_fingerprint(value)}"
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name not in ("kind", "type_comment")
        )
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(_fingerprint(item) for item in node if not _bare_string(item))}]"
    return ascii(node)


def _bare_string(node: object) -> bool:
    """A string that stands alone as a statement: a docstring, or prose to the same effect."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


class ModuleGraph:
    """The modules of the package below ``root`` and who uses whom."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[str, Path] = {}
        self._data: dict[str, Path] = {}
        self._trees: dict[str, ast.Module] = {}
        self._bindings: dict[str, dict[str, Target]] = {}
        for path in sorted((root / PACKAGE).rglob("*")):
            if path.suffix == ".py":
                parts = path.relative_to(root).with_suffix("").parts
                self._files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
            elif path.is_file() and "__pycache__" not in path.parts and path.name != "py.typed":
                self._data[path.name] = path

    def digests(self, code: str, exercises: Path | None = None) -> dict[str, str]:
        """Digests by file of all that a notebook's code, and its exercise file, depend on."""
        todo = self._used(ast.parse(code), None)
        if exercises is not None and exercises.is_file():
            todo.add(self._module_of(exercises))
        reached: set[str] = set()
        while todo:
            module = todo.pop()
            reached.add(module)
            todo |= self._used(self._tree(module), module) - reached
        found = {}
        for module in reached:
            text = self._files[module].read_text(encoding="utf-8")
            found[self._files[module]] = digest_of_code(text)
            found.update(self._data_digests(self._tree(module)))
        return {path.relative_to(self.root).as_posix(): found[path] for path in sorted(found)}

    def _data_digests(self, tree: ast.Module) -> Iterator[tuple[Path, str]]:
        """Data files of the package that a module names, e.g. a stored table."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                path = self._data.get(node.value.rpartition("/")[2])
                if path is not None:
                    yield path, hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def _module_of(self, path: Path) -> str:
        return next(name for name, file in self._files.items() if file == path)

    def _tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            path = self._files[module]
            self._trees[module] = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        return self._trees[module]

    def _used(self, tree: ast.Module, module: str | None) -> set[str]:
        """The modules that define the package's names that occur in the tree."""
        imported = self._imported(tree, module)
        everywhere = {name for name, _ in _name_chains(tree)}
        chains = set(_name_chains(tree, annotations=False))
        at_work = {name for name, _ in chains}
        # What occurs in annotations only computes nothing; what occurs nowhere is re-exported.
        targets = {target for name, target in imported if name in at_work or name not in everywhere}
        for base, attributes in chains:
            targets |= {(m, path + attributes) for name, (m, path) in imported if name == base}
        for node in ast.walk(tree):  # importlib.import_module("bolearn.plotting")
            if isinstance(node, ast.Constant) and node.value in self._files:
                targets.add((str(node.value), ()))
        used = set()
        for target in targets:
            found, rest = self._locate(*target)
            # Importing a package uses nothing of it yet; its __version__ is no code either.
            if not self._is_package(found) or (rest and not rest[0].startswith("__")):
                used.add(found)
        return {m for m in used if m != module and not m.startswith(EXERCISES)}

    def _locate(self, module: str, names: tuple[str, ...]) -> Target:
        """The module that defines ``module.names``, re-exports looked through, and what is left."""
        while names and self._is_package(module):
            first, rest = names[0], names[1:]
            target = self._exports(module).get(first)
            if target is not None and target != (module, (first,)):
                module, names = target[0], target[1] + rest
            elif f"{module}.{first}" in self._files:
                module, names = f"{module}.{first}", rest
            else:
                break  # defined in the package's own __init__.py
        return module, names

    def _exports(self, module: str) -> dict[str, Target]:
        if module not in self._bindings:
            # A package that imports lazily shows its names to type checkers only.
            tree = self._tree(module)
            self._bindings[module] = dict(self._imported(tree, module, typing=True))
        return self._bindings[module]

    def _imported(
        self, tree: ast.Module, module: str | None, *, typing: bool = False
    ) -> list[tuple[str, Target]]:
        """Local name and what it stands for, for every import from the package in the tree."""
        names: list[tuple[str, Target]] = []
        for node in _imports(tree.body, typing):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name in self._files:
                        target = alias.name if alias.asname else PACKAGE
                        names.append((alias.asname or PACKAGE, (target, ())))
            else:
                origin = self._origin(node, module)
                if origin in self._files:
                    names += [(a.asname or a.name, (origin, (a.name,))) for a in node.names]
        return names

    def _origin(self, node: ast.ImportFrom, module: str | None) -> str:
        """The absolute name of the module that a ``from ... import`` takes names from."""
        if not node.level or module is None:
            return node.module or ""
        package = module.split(".") if self._is_package(module) else module.split(".")[:-1]
        base = package[: len(package) - (node.level - 1)]
        return ".".join([*base, *([node.module] if node.module else [])])

    def _is_package(self, module: str) -> bool:
        return self._files[module].name == "__init__.py"


def _imports(nodes: Iterable[ast.AST], typing: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports at any depth; those that only a type checker sees on request."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test) and not typing:
            yield from _imports(node.orelse, typing)
        else:
            yield from _imports(ast.iter_child_nodes(node), typing)


def _name_chains(tree: ast.AST, *, annotations: bool = True) -> Iterator[Chain]:
    """Every maximal ``name.attribute.attribute`` in the tree, and every bare name."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        chain: list[str] = []
        inner = node
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            yield inner.id, tuple(reversed(chain))
            continue
        for field, value in ast.iter_fields(inner):
            if annotations or field not in ("annotation", "returns"):
                items = value if isinstance(value, list) else [value]
                todo += [item for item in items if isinstance(item, ast.AST)]
