"""Which cells of a notebook a cell needs, found without running anything.

A cell needs the cells that bind the names it reads, and those that change what the names stand for
(``values.append(1)``, ``X[0] = 1``, a draw from a generator), and what those need in turn. A
function reads its globals when it is called, so its caller needs them. In doubt a cell counts as
needed: a slice that is too long costs seconds, one that is too short computes something else.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field

# Methods that change what they are called on; others that do so end in an underscore (add_).
CHANGING = re.compile(
    "add|append|appendleft|backward|clear|discard|draw|extend|fast_forward|insert|load_state_dict|"
    "manual_seed|move_to_end|pop|popitem|popleft|remove|reset|reverse|seed|send|setdefault|sort|"
    "step|update|zero_grad"
)
# Values that change whenever they are used.
LIVING = frozenset(("Generator", "SobolEngine", "default_rng", "Random", "iter", "count", "cycle"))
SETTINGS = ("set_default_", "set_grad_enabled", "set_num_threads", "set_printoptions", "use_")


@dataclass
class Cell:
    """What one cell does with names: at its top level, and inside its functions."""

    text: str
    binds: set[str] = field(default_factory=set)  # for certain
    may_bind: set[str] = field(default_factory=set)  # within an if, a try or a loop
    changes: set[str] = field(default_factory=set)
    reads: set[str] = field(default_factory=set)
    deferred: set[str] = field(default_factory=set)  # read by its functions when they are called
    impure: set[str] = field(default_factory=set)  # its functions that change what they are given
    values: set[str] = field(default_factory=set)  # of what it binds, not imported or defined
    backward: bool = False  # fills .grad of whatever its values were made from
    settings: bool = False  # changes something of the whole process


class Notebook:
    """The cells of a notebook and what they need of each other."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.cells: list[Cell] = []
        self._living: set[str] = set()
        self._impure: set[str] = set()
        for text in texts:
            cell = _read(text, self._living, self._impure)
            self._impure |= cell.impure
            self.cells.append(cell)
        for index, cell in enumerate(self.cells):  # a living value may be used by a function
            cell.changes |= self._reached(index) & self._living
            if cell.backward:
                cell.changes |= {n for i in self.needed([index]) for n in self.cells[i].values}

    def with_cell(self, index: int, text: str) -> Notebook:
        """The notebook with another text in one cell."""
        other = copy(self)
        other.cells = list(self.cells)
        other.cells[index] = cell = _read(text, set(self._living), self._impure)
        cell.changes |= other._reached(index) & self._living
        return other

    def needed(self, targets: Iterable[int]) -> list[int]:
        """The cells to run, in order, for the given cells to compute what the notebook does."""
        todo, found = list(targets), set()
        todo += [i for i, cell in enumerate(self.cells) if cell.settings and i < max(todo)]
        while todo:
            index = todo.pop()
            if index not in found:
                found.add(index)
                todo += self._sources(index)
        return sorted(found)

    def _sources(self, index: int) -> set[int]:
        cell = self.cells[index]
        return {
            source
            for name in self._reached(index) | cell.changes | cell.may_bind
            for source in self._makers(name, index)
        }

    def _makers(self, name: str, before: int) -> list[int]:
        """The cells that made the name what it is before a cell, from the latest one back."""
        makers = []
        for index in range(before - 1, -1, -1):
            cell = self.cells[index]
            if name in cell.binds or name in cell.may_bind or name in cell.changes:
                makers.append(index)
            if name in cell.binds:
                break
        return makers

    def _reached(self, index: int) -> set[str]:
        """What a cell reads, at once or through the functions that it calls."""
        found: set[str] = set()
        todo = set(self.cells[index].reads | self.cells[index].deferred)
        while todo:
            name = todo.pop()
            found.add(name)
            for maker in self._makers(name, index):
                todo |= self.cells[maker].deferred - found
        return found


def _read(text: str, living: set[str], impure: Collection[str]) -> Cell:
    cell, tree = Cell(text), ast.parse(text)
    for statement in tree.body:
        _read_statement(statement, cell, living, impure)
    hidden = set(vars(builtins)) - cell.binds
    cell.reads -= hidden
    cell.deferred -= hidden
    return cell


def _read_statement(
    statement: ast.stmt, cell: Cell, living: set[str], impure: Collection[str]
) -> None:
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        cell.binds.add(statement.name)
        cell.deferred |= _free(statement)
        cell.reads |= {name for d in statement.decorator_list for name in _loads(d)}
        if _changes_arguments(statement, impure):
            cell.impure.add(statement.name)
        return
    bound = _stores(statement)
    certain = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Import, ast.ImportFrom))
    certain |= isinstance(statement, (ast.For, ast.With))
    (cell.binds if certain else cell.may_bind).update(bound)
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            cell.deferred |= _free(node)
    cell.reads |= _loads(statement)
    cell.changes |= _changed(statement, {*impure, *cell.impure})
    names = {n.attr if isinstance(n, ast.Attribute) else n.id for n in _called(statement)}
    cell.backward |= "backward" in names
    if not isinstance(statement, (ast.Import, ast.ImportFrom)):
        cell.values |= bound
    if names & LIVING or names & {*impure, *cell.impure}:  # such as a class that counts its calls
        living |= bound
    if any(name.startswith(SETTINGS) for name in names):
        cell.settings = True
    if "manual_seed" in names and "Generator" not in names:  # of the process, or of a generator
        cell.settings = True


def _changed(tree: ast.AST, impure: Collection[str]) -> set[str]:
    """The names whose values the code changes in place."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            found.add(_base(node))
        elif isinstance(node, ast.AugAssign):
            found.add(_base(node.target))
        elif isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else _base(called)
            given = {n for a in (*node.args, *(k.value for k in node.keywords)) for n in _loads(a)}
            if isinstance(called, ast.Attribute):
                inner = name.endswith("_") and not name.endswith("__")
                if inner or CHANGING.fullmatch(name):
                    found.add(_base(called))
            elif name in impure or name in ("next", "setattr", "delattr"):
                found |= given
    return (found | _outs(tree)) - {""}


def _outs(tree: ast.AST) -> set[str]:
    """Names given as ``out=``, which torch and NumPy write into."""
    return {
        _base(keyword.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "out"
    }


def _changes_arguments(function: ast.FunctionDef | ast.ClassDef, impure: Collection[str]) -> bool:
    """Whether calling it may change its arguments, or a global: in doubt it does."""
    methods = [n for n in ast.walk(function) if isinstance(n, ast.FunctionDef)]
    for method in methods:
        if method.name in ("__init__", "__post_init__"):
            continue
        own = {n for s in method.body for n in _plainly_made(s)}
        if {name for s in method.body for name in _changed(s, impure)} - own:
            return True
        if any(isinstance(n, (ast.Global, ast.Nonlocal)) for n in ast.walk(method)):
            return True
    return False


def _plainly_made(statement: ast.stmt) -> set[str]:
    """Names bound to something new: a literal, a comprehension, a call; not part of an argument."""
    found: set[str] = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign):
            values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
            new = (ast.Call, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
            plain = (*new, ast.Constant, ast.BinOp, ast.Compare, ast.UnaryOp)
            if all(isinstance(value, plain) for value in values):
                found |= _stores(node)
    return found


def _base(node: ast.AST) -> str:
    """The name at the root of ``name.attribute[index].method``; empty if there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call, ast.Starred)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _called(tree: ast.AST) -> list[ast.Name | ast.Attribute]:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [func for func in calls if isinstance(func, (ast.Name, ast.Attribute))]


def _loads(tree: ast.AST) -> set[str]:
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    } | {node.target.id for node in ast.walk(tree) if _augments_name(node)}  # type: ignore[attr-defined]


def _augments_name(node: ast.AST) -> bool:
    return isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name)


def _stores(tree: ast.AST) -> set[str]:
    """Names that a statement binds, imports among them; those of inner functions apart."""
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        todo += ast.iter_child_nodes(node)
    return found


def _free(function: ast.FunctionDef | ast.ClassDef | ast.Lambda) -> set[str]:
    """Names that a function reads and does not make itself."""
    own = {node.arg for node in ast.walk(function) if isinstance(node, ast.arg)}
    if not isinstance(function, ast.Lambda):
        own |= {name for statement in function.body for name in _stores(statement)}
        own -= {n for g in ast.walk(function) if isinstance(g, ast.Global) for n in g.names}
    return _loads(function) - own
