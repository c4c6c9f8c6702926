"""What a build tool needs from an exercise file, read without importing it.

Standard library only, and no import from the package, so that a tool can load this file by its
path (`importlib.util.spec_from_file_location`) where torch is not installed.

    exercise_ids(path)          the ids in the file, in order
    answer_name(path, id)       the name of the function or class that the learner writes
    stub_source(path, id)       its signature and docstring over a body that raises
    answer_source(path, id)     the model answer without its `@e1.answer` line
    check_source(path, id)      'teach.check("p1.t1.e1", name)'

The fresh notebook's exercise cell is `stub_source + "\\n\\n" + check_source`, the worked one's is
`answer_source + "\\n\\n" + check_source`; all texts end without a line break.

An answer has to run in the notebook, with the notebook's imports only: it may not use other
functions or constants of the exercise file. `outside_names(path, id)` lists those it does use.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

BODY = ("# your code here", "raise NotImplementedError")

Answer = ast.FunctionDef | ast.ClassDef


class SourceError(ValueError):
    """An exercise file does not follow the format that the course's tools can read."""


def exercise_ids(path: str | Path) -> list[str]:
    """The ids of all exercises in a file, in order.

    Raises:
        SourceError: the file is not valid Python, or an id is not a literal.
    """
    return list(_answers(path))


def answer_name(path: str | Path, exercise_id: str) -> str:
    """The name of the function or class that a learner writes for an exercise."""
    return _answer(path, exercise_id).name


def check_source(path: str | Path, exercise_id: str) -> str:
    """The line that checks the learner's answer."""
    return f'teach.check("{exercise_id}", {answer_name(path, exercise_id)})'


def answer_source(path: str | Path, exercise_id: str) -> str:
    """The model answer as it stands in the file, without the `answer` decorator."""
    node = _answer(path, exercise_id)
    lines = _lines(path)
    return "\n".join([*_decorators(lines, node), *lines[node.lineno - 1 : node.end_lineno]])


def stub_source(path: str | Path, exercise_id: str) -> str:
    """The model answer's signature and docstring over a body that raises NotImplementedError.

    Of a class, the stub keeps the class's docstring and every method's signature and docstring.
    """
    lines = _lines(path)
    node = _answer(path, exercise_id)
    if ast.get_docstring(node) is None:
        raise SourceError(
            f"{_where(path, exercise_id)}: expected a docstring in {node.name}, which states the "
            "task for the learner, but there is none; write one"
        )
    return "\n".join(_stub(lines, node))


def outside_names(path: str | Path, exercise_id: str) -> list[str]:
    """Names defined at the file's top level (imports apart) that the model answer uses."""
    node = _answer(path, exercise_id)
    defined: set[str] = set()
    for statement in _tree(path).body:
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            defined.add(statement.name)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            defined |= _stored(ast.walk(statement))
    inside = [child for part in ast.iter_child_nodes(node) for child in ast.walk(part)]
    own = {n.arg for n in inside if isinstance(n, ast.arg)} | {node.name}
    own |= _stored(inside)
    own |= {n.name for n in inside if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    skipped = {id(n) for decorator in node.decorator_list for n in ast.walk(decorator)}
    used = {n.id for n in inside if isinstance(n, ast.Name) and id(n) not in skipped}
    return sorted(used & defined - own)


def _stored(nodes: Iterable[ast.AST]) -> set[str]:
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def _where(path: str | Path, exercise_id: str) -> str:
    return f"{Path(path).name}, exercise {exercise_id}"


def _lines(path: str | Path) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()


def _tree(path: str | Path) -> ast.Module:
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise SourceError(f"{Path(path).name}, line {error.lineno}: {error.msg}") from error


@lru_cache(maxsize=64)  # a file is asked about many times
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


def _answers(path: str | Path) -> dict[str, Answer | None]:
    """Exercise id -> the decorated answer, or None where it is missing."""
    ids: dict[str, str] = {}
    found: dict[str, Answer | None] = {}
    for node in _tree(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Call):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            function = node.value.func
            called = getattr(function, "id", getattr(function, "attr", ""))
            if called == "Exercise" and isinstance(target, ast.Name):
                ids[target.id] = exercise_id = _literal_id(path, node.value)
                found[exercise_id] = None
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if _is_answer(decorator) and ast.unparse(decorator)[: -len(".answer")] in ids:
                    found[ids[ast.unparse(decorator)[: -len(".answer")]]] = node
    return found


def _literal_id(path: str | Path, call: ast.Call) -> str:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "id"]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    raise SourceError(
        f'{Path(path).name}, line {call.lineno}: expected Exercise(id="...") with the id written '
        "out as a string; the course's tools read it without running the file"
    )


def _answer(path: str | Path, exercise_id: str) -> Answer:
    answers = _answers(path)
    node = answers.get(exercise_id)
    if node is not None:
        return node
    if exercise_id in answers:
        raise SourceError(
            f"{_where(path, exercise_id)}: no model answer; decorate one with @e.answer"
        )
    raise SourceError(
        f"{Path(path).name} has no exercise {exercise_id!r}; it has {', '.join(answers) or 'none'}"
    )


def _is_answer(decorator: ast.expr) -> bool:
    return isinstance(decorator, ast.Attribute) and decorator.attr == "answer"


def _decorators(lines: list[str], node: Answer) -> list[str]:
    kept = []
    for decorator in node.decorator_list:
        if not _is_answer(decorator):
            kept += lines[decorator.lineno - 1 : decorator.end_lineno]
    return kept


def _stub(lines: list[str], node: Answer) -> list[str]:
    first = node.body[0]
    if first.lineno == node.lineno:
        raise SourceError(f"line {node.lineno}: write the body of {node.name} on its own lines")
    documented = ast.get_docstring(node) is not None
    start = min([first.lineno, *(d.lineno for d in getattr(first, "decorator_list", []))])
    end = (first.end_lineno or first.lineno) if documented else start - 1
    stub = [*_decorators(lines, node), *lines[node.lineno - 1 : end]]
    indent = " " * first.col_offset
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef)]
    if isinstance(node, ast.FunctionDef) or not methods:
        return stub + [indent + line for line in BODY]
    for method in methods:
        stub += ["", *_stub(lines, method)]
    return stub
