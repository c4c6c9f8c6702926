"""The checking engine, on a small exercise made for each test."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bolearn import teach
from bolearn.teach import Case, Exercise, Rng, Violation, close, has_shape, require
from bolearn.teach.describe import describe
from bolearn.teach.sources import exercise_ids

ROOT = Path(__file__).parents[2]


def make(**options) -> Exercise:
    """Double a vector; ValueError for an empty one. 21 cases, sizes 1 to 20 and 0."""
    e = Exercise(id="test.e1", title="double", hints=("one", "two", "three"), **options)

    @e.answer
    def double(x):
        """Twice the vector."""
        if x.numel() == 0:
            raise ValueError("empty")
        return 2 * x

    @e.cases
    def cases(rng):
        yield Case(torch.zeros(0), raises=ValueError)
        for n in range(20, 0, -1):
            yield Case(rng.uniform_in(1.0, 2.0, n), note=f"n = {n}")

    @e.shape
    def shape(fn, x):
        has_shape(fn(x), x.shape, torch.float64)

    @e.property("it is additive")
    def additive(fn, x):
        return torch.allclose(fn(x + x), fn(x) + fn(x))

    @e.value("an addition")
    def added(fn, x):
        close(fn(x), x + x)

    @e.wrong("triples")
    def triple(x):
        return 3 * x

    @e.wrong("no error for the empty vector")
    def no_error(x):
        return 2 * x

    @e.wrong("squares")
    def square(x):
        if x.numel() == 0:
            raise ValueError("empty")
        return x**2

    return e


def double(x):
    if x.numel() == 0:
        raise ValueError("empty")
    return torch.stack([v + v for v in x])


def guarded(body):
    """A learner's function that handles the empty case and then does `body`."""

    def double(x):
        if x.numel() == 0:
            raise ValueError("empty")
        return body(x)

    return double


def evaluate(fn, exercise=None, **options):
    return teach.evaluate(exercise or make(), fn, **options)


def test_another_style_passes_and_the_seed_is_printed():
    result = evaluate(double, seed=7)
    assert (result.status, result.cases) == ("passed", 21)
    assert "21, seed 7" in str(result) and "it is additive" in str(result)


def test_the_exercise_itself_is_sound():
    assert teach.selftest(make()) == []


def stub(x):
    """Twice the vector."""
    # your code here
    raise NotImplementedError


def dots(x):
    """Twice the vector."""
    ...


def only_pass(x):
    pass


def partial(x):
    if x.numel() == 0:
        raise ValueError
    raise NotImplementedError


@pytest.mark.parametrize("fn", [stub, dots, only_pass, partial, guarded(lambda x: ...)])
def test_not_attempted(fn):
    result = evaluate(fn)
    assert result.status == "not attempted"
    assert 'teach.hint("test.e1", 1)' in str(result)


def test_a_forgotten_return_is_not_a_missing_attempt():
    def double(x):
        y = 2 * x  # noqa: F841

    result = evaluate(guarded(double))
    assert result.status == "failed" and "return" in result.message


def test_none_can_be_a_result():
    assert evaluate(guarded(lambda x: None), make(none_ok=True)).message == (
        "expected a tensor, got None"
    )


def test_the_smallest_case_of_the_first_failing_layer_is_shown():
    result = evaluate(guarded(lambda x: 3 * x if len(x) > 4 else 2 * x))
    assert result.status == "failed"
    assert result.statement == "the value agrees with an addition (n = 5)"
    assert result.inputs[0].shape == (5,)
    assert result.failing == 16
    assert "16 of 21 fail" in str(result)
    # shape comes before value, although the value fails on a smaller case
    result = evaluate(guarded(lambda x: (2 * x)[:-1] if len(x) > 9 else 3 * x))
    assert result.statement.startswith("the result has the right type and shape")
    assert result.message == "expected shape (10,), got (9,)"


def test_an_exercise_can_measure_size_its_own_way():
    result = evaluate(guarded(lambda x: 3 * x), make(size=lambda x: -len(x)))
    assert result.inputs[0].shape == (20,)


def test_the_models_value_is_never_shown():
    result = evaluate(guarded(lambda x: 3 * x))
    right = f"{2 * float(result.inputs[0][0]):.4f}"[:-1]
    assert right not in str(result) and right not in result._repr_html_()
    assert "2 * x" not in str(result)


def test_a_missing_error_is_a_failure():
    result = evaluate(lambda x: 2 * x)
    assert result.status == "failed"
    assert result.statement == "it raises ValueError on this input"
    assert result.message == "it raised nothing"


def test_an_exception_is_shown_with_the_learners_own_line():
    def helper(x):
        return x.missing_method()

    result = evaluate(guarded(lambda x: helper(x)))
    assert result.status == "error"
    assert "AttributeError" in result.message
    assert "in helper, line" in result.message and "x.missing_method()" in result.message
    assert __file__ not in str(result)


def test_an_exception_inside_torch_names_the_learners_line():
    result = evaluate(guarded(lambda x: torch.einsum("ij->i", x)))
    assert result.status == "error" and "in <lambda>, line" in result.message


@pytest.mark.parametrize("error", [SystemExit, RecursionError, AssertionError, KeyError])
def test_whatever_the_learners_code_raises_is_caught(error):
    def double(x):
        raise error("x")

    assert evaluate(double).status == "error"
    assert evaluate(double).message.startswith(error.__name__)


def test_an_unusable_result_is_the_learners_failure_not_a_crash():
    e = make()
    e.checks = [check for check in e.checks if check.layer == "property"]
    result = evaluate(guarded(lambda x: "text"), e)
    assert result.status == "failed"
    assert "your result could not be used: TypeError" in result.message


@pytest.mark.parametrize(
    "fn, words",
    [
        (3, "needs the function double itself, but got 3"),
        (torch.ones(2), "without calling double"),
        (int, "but got a class"),
        (lambda: 0, "double(x)"),
        (lambda x, y: 0, "double(x)"),
    ],
)
def test_what_cannot_be_called_gets_a_clear_message(fn, words):
    result = evaluate(fn)
    assert result.status == "error" and words in result.message


def test_inputs_are_copies():
    e = make()

    def in_place(x):
        if x.numel() == 0:
            raise ValueError
        return x.mul_(2)

    assert evaluate(in_place, e).status == "passed"
    pure = evaluate(in_place, make(pure=True))
    assert pure.status == "failed" and "changed its input" in pure.message
    assert evaluate(double, make(pure=True)).status == "passed"
    assert evaluate(in_place, make(copies=False)).status == "failed"


def test_copies_keep_strides_and_shared_memory():
    base = torch.arange(6.0)
    e = Exercise(id="test.e2", title="", hints=("a", "b", "c"))
    e.answer(lambda x, y: None)
    e.cases(lambda rng: iter([Case(base.expand(4, 6), base[::2]), Case(base, base)]))

    @e.property("layout is kept")
    def layout(fn, x, y):
        return fn(x, y)

    def same_layout(x, y):
        shared = x.untyped_storage().data_ptr() == y.untyped_storage().data_ptr()
        copied = x.untyped_storage().data_ptr() != base.untyped_storage().data_ptr()
        return shared and copied and x.stride() in ((0, 1), (1,)) and y.stride() in ((2,), (1,))

    assert evaluate(same_layout, e).status == "passed"


def test_prints_are_kept_back(capsys):
    def noisy(x):
        print("noise")
        print("noise", file=sys.stderr)
        return 3 * x

    result = evaluate(guarded(noisy))
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert "lines by your code, not shown" in str(result)


DRAWS = """
import random, sys, numpy as np, torch
sys.path.insert(0, "docs/examples")
from my_exercises import e1
from bolearn import teach

def state():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

def draws(y):
    return torch.rand(y.shape, dtype=y.dtype) + random.random() + np.random.rand()

random.seed(1), np.random.seed(1), torch.manual_seed(1)
before = state()
first = str(teach.evaluate(e1, draws))
assert state() == before, "left changed"
random.seed(2), np.random.seed(2), torch.manual_seed(2)
assert str(teach.evaluate(e1, draws)) == first, "read"
assert "failed" in first
"""


def test_global_random_state_is_neither_read_nor_left_changed():
    # in a process of its own: the run-time type checks of this suite draw random numbers too
    run = subprocess.run([sys.executable, "-c", DRAWS], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_seeds_change_the_cases_and_repeat_them():
    e = make()
    one, same, other = (e.make_cases(seed)[1].args[0] for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_text_is_the_same_in_another_process():
    code = (
        "import sys; sys.path.insert(0, 'docs/examples')\n"
        "from bolearn import teach; from my_exercises import e1\n"
        "[print(teach.evaluate(e1, w.fn)) for w in e1.wrongs]"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    (e1,) = teach.load(ROOT / "docs" / "examples" / "my_exercises.py")
    here = "".join(f"{teach.evaluate(e1, wrong.fn)}\n" for wrong in e1.wrongs)
    assert run.stdout == here and "✗" in here, run.stderr


def test_check_shows_itself_records_and_takes_own_exercises(capsys):
    teach.setup("test")
    result = teach.check(make(), double)
    assert str(result) in capsys.readouterr().out
    assert repr(result) == "<CheckResult test.e1 passed>"
    assert teach.session.summary()["exercises"]["passed"] == 1


def test_an_unknown_id_names_the_closest():
    with pytest.raises(teach.ExerciseError, match=r"p1\.t1\.e1") as caught:
        teach.check("p1.t1.e99", double)
    assert "closest" in str(caught.value)
    with pytest.raises(teach.ExerciseError, match="no exercise 5"):
        teach.check(5, double)


KNOWN = {i for file in teach.exercises.files() for i in exercise_ids(file)}


@settings(max_examples=10)  # each reads every exercise file
@given(st.one_of(st.text(), st.none(), st.integers(), st.from_regex(r"p\d+\.t\d+\.e\d+")))
def test_no_id_does_anything_but_name_the_closest(exercise):
    assume(exercise not in {*KNOWN, "test.e1", "test.e3", "homework.e1"})
    with pytest.raises(teach.ExerciseError, match="there is no exercise"):
        teach.check(exercise, double)


@given(st.one_of(st.none(), st.integers(), st.text(), st.floats(), st.lists(st.integers())))
def test_whatever_is_no_function_is_said_to_be_none(thing):
    result = evaluate(thing)
    assert result.status == "error" and "needs the function double itself" in result.message


@given(
    st.one_of(
        st.none(), st.integers(), st.text(), st.floats(), st.lists(st.floats()), st.booleans()
    )
)
def test_whatever_a_function_returns_is_judged(thing):
    result = evaluate(guarded(lambda x: thing))
    assert result.status == "failed"
    assert str(result) and result._repr_html_()


def test_an_exercise_of_ones_own_is_known_by_its_id_once_checked(capsys):
    e = make()
    e.id = "own.e1"
    with pytest.raises(teach.ExerciseError, match="no exercise"):
        teach.hint("own.e1", 1)
    teach.check(e, stub)
    teach.hint("own.e1", 1)
    assert "hint 1 of 3" in capsys.readouterr().out


def test_a_check_may_return_a_message_or_bools():
    for verdict, status in (
        (None, "passed"),
        (True, "passed"),
        (np.bool_(True), "passed"),
        ("", "passed"),
        (torch.tensor([True, True]), "passed"),
        (torch.tensor([True, False]), "failed"),
        (False, "failed"),
        ("the sum is 3, not 4", "failed"),
        (object(), "failed"),
    ):
        e = make()
        e.property("p")(lambda fn, x, verdict=verdict: verdict)
        result = evaluate(double, e)
        assert result.status == status, verdict
        assert not isinstance(verdict, str) or result.message == verdict


def test_hints(capsys):
    for level, word in ((1, "one"), (2, "two"), (3, "three")):
        teach.hint(make(), level)
        assert word in capsys.readouterr().out
    with pytest.raises(teach.ExerciseError, match="1, 2 or 3"):
        teach.hint(make(), 4)


def test_html_and_text_say_the_same_words_without_fixed_colours():
    result = evaluate(guarded(lambda x: 3 * x if len(x) < 3 else "<b>"))
    page = result._repr_html_()
    assert 'role="status"' in page and "<dl" in page
    assert "✗" in page and "failed" in page
    assert "color:#" not in page and "black" not in page and "white;" not in page
    for row in result.rows:
        assert row.label in page and row.label in str(result)


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, grad):
        return 2 * ctx.saved_tensors[0] * grad


class BadSlope(Square):
    @staticmethod
    def backward(ctx, grad):
        return grad


class Stub(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        raise NotImplementedError


class Crash(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.nothing


def make_class_exercise() -> Exercise:
    e = Exercise(id="test.e3", title="a class", hints=("a", "b", "c"))
    e.answer(Square)
    e.cases(lambda rng: iter([Case(float(k)) for k in range(3)]))

    @e.property("its slope is 2 x")
    def slope(fn, x):
        leaf = torch.tensor(x, requires_grad=True)
        fn.apply(leaf).backward()
        close(leaf.grad, 2 * x)

    return e


@pytest.mark.parametrize(
    "cls, status", [(Square, "passed"), (BadSlope, "failed"), (Stub, "not attempted")]
)
def test_classes_are_checked_too(cls, status):
    assert evaluate(cls, make_class_exercise()).status == status


def test_a_class_that_crashes_names_its_line():
    result = evaluate(Crash, make_class_exercise())
    assert result.status == "error" and "in forward, line" in result.message
    assert evaluate(double, make_class_exercise()).status == "error"


@pytest.mark.parametrize(
    "break_it, words",
    [
        (lambda e: e.wrongs.pop(), "2 wrong answers"),
        (lambda e: e.cases(lambda rng: iter([Case(torch.ones(1))] * 19)), "19 cases"),
        (lambda e: e.answer(lambda x: 3 * x), "model answer is not accepted"),
        (lambda e: e.answer(lambda x: 3 * x), "no docstring"),
        (lambda e: e.wrong("is right")(double), "the wrong answer double (is right) is accepted"),
        (lambda e: setattr(e, "hints", ("a", "a", "b")), "three hints"),
        (lambda e: e.checks.clear(), "no property and no value"),
    ],
)
def test_selftest_finds(break_it, words):
    e = make()
    break_it(e)
    assert any(words in problem for problem in teach.selftest(e))


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"id": "Exercise One", "hints": ("a", "b", "c")}, "expected an id"),
        ({"id": "p1.t1.e1", "hints": ("a", "b")}, "three hints"),
        ({"id": "p1.t1.e1", "hints": "abc"}, "three hints"),
    ],
)
def test_malformed_exercises_are_refused(arguments, words):
    with pytest.raises(teach.ExerciseError, match=words):
        Exercise(title="", **arguments)


def test_cases_must_be_cases():
    e = make()
    e.cases(lambda rng: iter([(1, 2)]))
    with pytest.raises(teach.ExerciseError, match="yield Case"):
        e.make_cases(0)


@pytest.mark.parametrize(
    "actual, expected, options",
    [
        (1.0 + 1e-10, 1.0, {}),
        (torch.tensor([1e6 + 1e-4]), [1e6], {"relative": True, "tolerance": 1e-6}),
        ((1.0, torch.ones(2)), (1.0, torch.ones(2)), {}),
        (float("inf"), float("inf"), {}),
        (torch.zeros(0), torch.zeros(0), {}),
        (np.float64(0.1), 0.1, {"tolerance": 0.0}),
        (torch.tensor(0.1, dtype=torch.float64), 0.1, {"tolerance": 0.0}),
    ],
)
def test_close_accepts(actual, expected, options):
    close(actual, expected, **options)


@pytest.mark.parametrize(
    "actual, expected, words",
    [
        (1.1, 1.0, "off by about 0.1"),
        (float("nan"), 1.0, "not finite"),
        (float("nan"), float("nan"), "not finite"),
        (float("inf"), 1.0, "not finite"),
        (1.0, float("inf"), "not finite"),
        (torch.ones(2), torch.ones(3), r"expected shape \(3,\), got \(2,\)"),
        (torch.tensor([[0.0, 2.0]]), [[0.0, 0.0]], r"at index \(0, 1\), where yours is 2"),
        (None, 1.0, "got None"),
        ("text", 1.0, "type str"),
        ((1.0,), (torch.ones(2), 1.0), "a tuple of 1"),
        ((torch.ones(2), 2.0), (torch.ones(2), 1.0), "value 1: off by about 1"),
    ],
)
def test_close_refuses(actual, expected, words):
    with pytest.raises(Violation, match=words) as caught:
        close(actual, expected)
    assert "; expected" not in str(caught.value)


def test_close_reveals_only_on_request():
    with pytest.raises(Violation, match="expected 42"):
        close(1.0, 42.0, reveal=True)
    with pytest.raises(Violation, match="not finite"):
        close(float("inf"), 1e6, relative=True)


def test_require_and_has_shape():
    require(torch.tensor([True, True]))
    for false in (False, torch.tensor([True, False]), np.array([False])):
        with pytest.raises(Violation, match="why"):
            require(false, "why")
    with pytest.raises(Violation, match=r"torch\.float64, got torch\.float32"):
        has_shape(torch.ones(2, dtype=torch.float32), (2,), torch.float64)
    with pytest.raises(Violation, match="a list of 2"):
        has_shape([1, 2], (2,))


def test_describe_is_short_and_free_of_addresses():
    assert describe(torch.tensor([1 / 3], dtype=torch.float64)).endswith("[0.333333]")
    assert describe(np.array([1, 2])) == "int64 array of shape (2,): [1, 2]"
    assert describe(torch.zeros(0, 3)) == "float32 tensor of shape (0, 3): empty"
    assert "0x" not in describe(object())
    assert len(describe("x" * 1000)) == 300
    assert describe({"a": (1.0,)}) == "{'a': (1,)}"
    assert describe(torch.sin) == "sin"


def test_rng_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    draw = Rng("seed").uniform_in(2.0, 3.0, 100)
    assert torch.equal(torch.get_rng_state(), before)
    assert bool(((draw >= 2) & (draw <= 3)).all())


def test_a_changed_number_in_a_dictionary_is_a_changed_input():
    e = Exercise(id="x.e1", title="count", hints=("a", "b", "c"), pure=True)

    @e.answer
    def count(state: dict[str, int]) -> int:
        """One more than state["n"]."""
        return state["n"] + 1

    @e.cases
    def cases(rng):
        for n in range(20):
            yield Case({"n": n, "name": "a"})

    @e.value("adding one")
    def right(fn, state):
        return fn(state) == state["n"] + 1

    def in_place(state):
        state["n"] += 1
        return state["n"]

    assert evaluate(count, e).status == "passed"
    changed = evaluate(in_place, e)
    assert changed.status == "failed" and "changed its input" in changed.message
