"""Every exercise of the course: sound, extractable, and open until someone works on it."""

import ast
from pathlib import Path

import pytest

from bolearn import teach
from bolearn.teach import exercises
from bolearn.teach.sources import answer_source, check_source, exercise_ids, stub_source

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "my_exercises.py"
FILES = [*exercises.files(), EXAMPLE]
ALL = [(path, exercise_id) for path in FILES for exercise_id in exercise_ids(path)]
each = pytest.mark.parametrize("path, exercise_id", ALL, ids=[i for _, i in ALL])


def get(path, exercise_id):
    return next(e for e in teach.load(path) if e.id == exercise_id)


def run(path, source, name):
    """Run a source with the exercise file's imports only, as a notebook would."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [n for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    namespace = {"__name__": "notebook"}
    exec(compile(ast.Module(imports, []), str(path), "exec"), namespace)
    exec(compile(source, f"<{name}>", "exec"), namespace)
    return namespace[name]


@each
def test_model_answer_passes_and_every_wrong_answer_fails(path, exercise_id):
    # Seed 0 is a learner's; `python -m bolearn.teach selftest`, run when an exercise changes, tries
    # three and takes three times as long.
    problems = teach.selftest(get(path, exercise_id), seeds=(0,))
    assert not problems, "\n".join(problems)


@each
def test_the_stub_is_not_attempted_and_the_extracted_answer_passes(path, exercise_id):
    exercise = get(path, exercise_id)
    stub = run(path, stub_source(path, exercise_id), exercise.name)
    assert teach.evaluate(exercise, stub).status == "not attempted"
    assert stub.__doc__ == exercise.model_answer.__doc__
    answer = run(path, answer_source(path, exercise_id), exercise.name)
    assert teach.evaluate(exercise, answer).status == "passed"
    assert check_source(path, exercise_id) == f'teach.check("{exercise_id}", {exercise.name})'


@each
def test_the_hints_do_not_quote_the_answer(path, exercise_id):
    body = set(answer_source(path, exercise_id).splitlines())
    body -= set(stub_source(path, exercise_id).splitlines())
    lines = {line.strip() for line in body if len(line.strip()) > 12}
    for hint in get(path, exercise_id).hints:
        assert not any(line in hint for line in lines)


def test_ids_belong_to_their_files_and_are_unique():
    ids = [exercise_id for _, exercise_id in ALL]
    assert len(set(ids)) == len(ids)
    for path in exercises.files():
        for exercise_id in exercise_ids(path):
            assert exercises.path_of(exercise_id) == path
            assert exercises.find(exercise_id).id == exercise_id


def test_an_exercise_of_ones_own_is_loaded_from_anywhere(tmp_path):
    copy = tmp_path / "hidden.py"
    copy.write_text(EXAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    assert [e.id for e in teach.load(copy)] == ["homework.e1"]


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "expected a Python file"),
        ("x = 1", "holds no exercise"),
        ("1 / 0", "ZeroDivisionError"),
        ("def f(:", "SyntaxError"),
        (
            "from bolearn.teach import Exercise\nname = 'a.e1'\n"
            "e = Exercise(id=name, title='', hints=('a', 'b', 'c'))",
            "id written out",
        ),
    ],
)
def test_files_that_are_no_exercises_are_refused(tmp_path, text, words):
    path = tmp_path / "file.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(teach.ExerciseError, match=words):
        teach.load(path)
