"""Tables of changes: claims that can fail, seen to fail; and claims under other master seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_course import make, replace

from course.__main__ import main
from course.claims import changes_path, read, seen_path
from course.project import Tutorial
from course.slices import Notebook

CELLS = """
# %%
import random

g = random.Random(0)
fair = random.Random(1)
scale = 10


def mean(draw, n):
    return sum(draw.random() for _ in range(n)) / n


# %%
unused = [1 / 0 for _ in ()]
for sign in ("+", "-"):
    teach.claim(f"{sign}: ten is ten", scale == 10, kind="run")

# %%
average = mean(g, 400)
teach.claim("the average is a half", abs(average - 0.5) < 0.1, kind="monte-carlo")

# %%
first = fair.random()
teach.claim("the first draw is small", first < 0.14, kind="monte-carlo")
"""

TEN = """
[[change]]
claim = "+: ten is ten"
old = "scale = 10"
new = "scale = 11"
"""
HALF = """
[[change]]
claim = "the average is a half"
old = "draw.random() for"
new = "0.3 * draw.random() for"

[[change]]
claim = "the average is a half"
old = "average = mean(g, 400)"
new = "average = mean(g, 400) + 0.2"
"""
FIXED = """
[[fixed]]
text = "random.Random(1)"
why = "the story is about this draw"
"""


@pytest.fixture
def tutorial(tmp_path: Path) -> Tutorial:
    _, tutorial = make(tmp_path)
    with tutorial.source.open("a") as source:
        source.write(CELLS)
    return tutorial


@pytest.fixture
def mutate(tutorial: Tutorial, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Writes a table, runs it, and returns the exit code with what was printed."""

    def run(table: str, *options: str) -> str:
        changes_path(tutorial).write_text(table)
        code = main(["--root", str(tutorial.root), "mutate", "p1.t1", *options])
        return f"exit {code}\n{capsys.readouterr().out}"

    return run


@pytest.fixture
def check(tutorial: Tutorial, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `check` says about claims (the notebooks were never built)."""

    def run(*options: str) -> str:
        main(["--root", str(tutorial.root), "check", "p1.t1", *options])
        lines = capsys.readouterr().out.splitlines()
        return "\n".join(line for line in lines if "changes.toml" in line)

    return run


def test_changes_that_make_their_claims_false_are_stored_and_not_run_again(
    tutorial: Tutorial, mutate: Callable[..., str], check: Callable[..., str]
) -> None:
    printed = mutate(TEN + HALF + FIXED)
    assert printed.startswith("exit 0"), printed
    assert "3 of 3 changes make their claims false, 2 of 2 random claims hold" in printed
    assert check() == ""
    stored = seen_path(tutorial).read_bytes()
    replace(tutorial.source, "average = mean", "# a comment\naverage = mean")
    assert check() == ""
    replace(tutorial.source, "average - 0.5) < 0.1", "average - 0.5) < 0.11")
    found = check()
    assert "'the average is a half'" in found and "ten is ten" not in found
    assert "not seen false" in found and "not seen true on other master seeds" in found
    assert mutate(TEN + HALF + FIXED).startswith("exit 0")
    assert check() == "" and seen_path(tutorial).read_bytes() != stored


def test_what_was_not_seen_again_is_told_and_an_error_when_claims_are_asked_for(
    tutorial: Tutorial, mutate: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--root", str(tutorial.root)]
    assert mutate(TEN + HALF + FIXED).startswith("exit 0")
    replace(tutorial.source, "average - 0.5) < 0.1", "average - 0.5) < 0.11")
    main([*root, "build", "p1.t1"])
    capsys.readouterr()
    assert main([*root, "check", "p1.t1"]) == 0
    assert "not seen false" in capsys.readouterr().out
    assert main([*root, "check", "p1.t1", "--claims"]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("scale = 10", "scale = 5 + 5"), "survives"),
        (("scale = 10", "scale = 1 / 0"), "ZeroDivisionError"),
        (("scale = 10", "import os; os._exit(0)"), "the process died"),
        (("scale = 10", "while True: pass"), "no result within the time limit"),
        (('("+", "-")', '("-",)'), "was not reached"),
    ],
)
def test_changes_that_do_not_make_their_claim_false_are_told(
    mutate: Callable[..., str], check: Callable[..., str], change: tuple[str, str], says: str
) -> None:
    old, new = change
    table = f"[[change]]\nclaim = '+: ten is ten'\nold = '{old}'\nnew = '{new}'\n"
    printed = mutate(table, "--no-seeds", "--limit", "1")
    assert printed.startswith("exit 1") and says in printed and "0 of 1 changes" in printed
    assert "not seen false" in check()


def test_a_random_claim_that_owes_its_truth_to_the_seed_flips(mutate: Callable[..., str]) -> None:
    printed = mutate(TEN)
    assert printed.startswith("exit 1")
    assert "flips     the first draw is small" in printed
    assert "the average is a half" not in printed
    assert "1 of 2 random claims hold" in printed


def test_a_claim_that_is_false_without_a_change_proves_nothing(
    tutorial: Tutorial, mutate: Callable[..., str]
) -> None:
    replace(tutorial.source, "scale == 10", "scale == 9")
    assert "the claim is false without any change" in mutate(TEN, "--no-seeds")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (TEN.replace("scale = 10", "scale = 12"), "occurs in no code cell"),
        (TEN.replace("scale = 10", "random()"), "occurs 2 times"),
        (TEN.replace("ten is ten", "ten is nine"), "no claim says '+: ten is nine'"),
        (TEN.replace("+: ten is ten", "doubling doubles"), "stands before the changed cell"),
        (TEN.replace("scale = 11", "scale = ="), "does not parse"),
        (TEN.replace("scale = 11", "scale = 10"), "the same text"),
        (TEN + 'colour = "red"', "unknown key 'colour'"),
        (TEN + "[[fix]]", "unknown table fix"),
        (FIXED.replace("1", "3"), "occurs in no code cell"),
        ("[[change]", "changes.toml"),
    ],
)
def test_entries_that_do_not_fit_the_source_are_found(
    mutate: Callable[..., str], check: Callable[..., str], table: str, says: str
) -> None:
    printed = mutate(table, "--no-seeds", "--only", "nothing")
    assert not printed.startswith("exit 0")
    assert says in check()


def test_a_text_that_occurs_twice_is_placed_by_its_cell(tutorial: Tutorial) -> None:
    twice = "abs(average - 0.5)"
    replace(tutorial.source, "average = mean(g, 400)\n", f"average = mean(g, 400)\n{twice}\n")
    with tutorial.source.open("a") as source:
        source.write(f"\n# %%\nteach.claim('near', {twice} < 0.2, kind='run')\n")
    table = f"[[change]]\nclaim = 'near'\nold = '{twice}'\nnew = '1'\n"
    changes_path(tutorial).write_text(table)
    assert "occurs 3 times" in read(tutorial).problems[0]
    changes_path(tutorial).write_text(table + 'cell = "near"\n')
    (change,) = read(tutorial).changes
    assert change.code == "teach.claim('near', 1 < 0.2, kind='run')"


def test_missing_changes_are_reported_on_request_only(
    check: Callable[..., str], mutate: Callable[..., str]
) -> None:
    assert check() == ""
    found = check("--claims")
    assert "run claim '{sign}: ten is ten' has 0 of 1 changes" in found
    assert found.count("has 0 of 2 changes") == 2
    assert "doubling doubles" not in found  # an identity
    mutate(TEN + HALF, "--no-seeds")
    found = check("--claims")
    assert "ten is ten" not in found and found.count("has 0 of 2 changes") == 1


def test_the_skeleton_has_an_entry_for_each_missing_change(
    tutorial: Tutorial, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--root", str(tutorial.root), "mutate", "--skeleton"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("[[change]]") == 5
    assert 'claim = "the average is a half"' in printed


# Slices


def needed(*cells: str) -> list[int]:
    """The cells that the last one needs, itself apart."""
    return Notebook(cells).needed([len(cells) - 1])[:-1]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("x = 1", "y = 2", "z = x"), [0]),
        (("x = 1", "x = 2", "z = x"), [1]),
        (("x = 1", "x = x + 1", "z = x"), [0, 1]),
        (("x = 1", "x += 1", "z = x"), [0, 1]),
        (("x = 1", "if x:\n    x = 2", "z = x"), [0, 1]),
        (("x = []", "x.append(1)", "len(x)"), [0, 1]),
        (("x = {}", "x['a'] = 1", "y = x"), [0, 1]),
        (("t = a()", "t.b.zero_()", "t.sum()"), [0, 1]),
        (("def f(): return k", "k = 1", "k = 2", "f()"), [0, 2]),
        (("k = 1", "f = lambda: k", "h = {'f': f}", "h['f']()"), [0, 1, 2]),
        (("g = torch.Generator()", "a = randn(g)", "b = randn(g)"), [0, 1]),
        (("g = torch.Generator()", "def r(): return randn(g)", "a = r()", "b = r()"), [0, 1, 2]),
        (("def f(x):\n    x.append(1)", "a = []", "b = f(a)", "len(a)"), [0, 1, 2]),
        (("def f(x):\n    y = []\n    y.append(x)", "a = []", "b = f(a)", "len(a)"), [1]),
        (("w = leaf()", "loss = w * 2", "loss.backward()", "w.grad"), [0, 1, 2]),
        (("w = 1", "torch.set_default_dtype(a)", "w"), [0, 1]),
        (("import a.b", "from c import d as e", "a.b, e"), [0, 1]),
        (("class M:\n    def f(s): s.n += 1", "m = M()", "m.f()", "m.n"), [0, 1, 2]),
        (("x = 1", "print(x)", "y = x"), [0]),
    ],
)
def test_a_cell_needs_what_made_its_names(cells: tuple[str, ...], expected: list[int]) -> None:
    assert needed(*cells) == expected
