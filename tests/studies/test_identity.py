"""What a strategy is: equal lines for equal code and values, a named difference for all others."""

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from types import FunctionType
from typing import Any

import gpytorch
import numpy as np
import pytest
import torch
from torch import Tensor

from bolearn import strategies
from bolearn.studies.identity import NotComparable, describe, difference

LEVEL = 1.0


def defined(text: str, name: str = "f", **given: object) -> Any:
    """What a notebook's cell defines."""
    cell: dict[str, Any] = {"__name__": "__main__", "torch": torch, "np": np, **given}
    exec(compile(text, "<cell>", "exec"), cell)
    return cell[name]


def closing_over(k: object) -> Callable[..., object]:
    def f(X: Tensor, a: int = 1, *, b: int = 2) -> object:
        return k, X, a, b

    return f


@dataclass(frozen=True)
class Nested:
    inner: object
    rest: dict[str, object] = field(default_factory=dict)


class Plain:
    def __init__(self, k: object) -> None:
        self.k = k

    def act(self) -> object:
        return self.k

    @cached_property
    def slow(self) -> object:
        return self.k


class Slotted:
    __slots__ = ("k",)

    def __init__(self, k: object) -> None:
        self.k = k


def kernel_of(lengthscale: float) -> gpytorch.kernels.Kernel:
    kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
    kernel.base_kernel.lengthscale = lengthscale
    return kernel


# each holds k somewhere else; equal for equal k, and only then
HOLDERS: list[Callable[[Any], Any]] = [
    lambda k: k,
    closing_over,
    lambda k: partial(closing_over(0), a=k),
    lambda k: partial(closing_over, k),
    lambda k: Nested(k),
    lambda k: Nested(Nested(closing_over(partial(max, k)))),
    lambda k: Nested(0, {"a": [(k,)]}),
    Plain,
    lambda k: Plain(k).act,
    Slotted,
    lambda k: lru_cache(closing_over(k)),
    lambda k: {"a": (1, [k])},
    lambda k: {k, 7.5},
    lambda k: np.array([1.0, k]),
    lambda k: np.float64(k),
    lambda k: torch.tensor([1.0, k]),
    lambda k: torch.tensor([True, k > 1]),
    lambda k: kernel_of(k),
    lambda k: replace(strategies.log_ei, acquisition=closing_over(k)),
    lambda k: replace(strategies.log_ei, model=closing_over(k)),
    lambda k: strategies.ucb(k),
    lambda k: FunctionType(closing_over(0).__code__, {}, closure=closing_over(k).__closure__),
    lambda k: defined("def f(X):\n  return X + LEVEL", LEVEL=k),
    lambda k: defined("def f(X):\n  return g(X)\ndef g(X):\n  return LEVEL", LEVEL=k),
    lambda k: defined(f"def f(X):\n  return X + {k}"),
    lambda k: defined(f"def f(X, a={k}):\n  return X"),
    lambda k: defined(f"def f(X):\n  return (lambda Y: Y + {k})(X)"),
    lambda k: defined(f"class f:\n  def act(self):\n    return {k}")(),
    lambda k: defined(f"class f:\n  level = {k}\n  def act(self):\n    return self.level")(),
    lambda k: defined(f"class g:\n  def h(self):\n    return {k}\nclass f(g):\n  pass")(),
    lambda k: defined(f"class f:\n  @property\n  def h(self):\n    return {k}")(),
]


@pytest.mark.parametrize("make", HOLDERS)
def test_equal_values_are_equal_and_others_are_not(make: Callable[[Any], Any]) -> None:
    one, again, other = (describe(make(k)) for k in (0.5, 0.5, 1.5))
    assert difference(one, again) == ""
    assert difference(one, other) != ""


def test_the_difference_says_what_and_where() -> None:
    one, other = (describe(replace(strategies.log_ei, model=closing_over(k))) for k in (1.0, 2.0))
    assert difference(one, other) == "model > k is 1.0 there and 2.0 here"
    one, other = (describe(strategies.ucb(k)) for k in (1.0, 2.0))
    assert difference(one, other) == "acquisition.beta is 1.0 there and 2.0 here"
    one, other = (describe(defined(f"def f(X):\n  return X {sign} 2")) for sign in "+-")
    assert difference(one, other) == "bytecode differs"


def test_types_of_numbers_count() -> None:
    texts = [repr(describe(closing_over(k))) for k in (1, 1.0, True, "1", -0.0, 0.0, (1,), [1])]
    assert len(set(texts)) == len(texts)


def test_what_a_function_does_not_see_makes_no_difference() -> None:
    text = "def f(X):\n  {doc}\n  return torch.sin(X) + LEVEL"
    one = describe(defined(text.format(doc="'one'"), LEVEL=2, other=1))
    assert one == describe(defined("\n\n# moved\n" + text.format(doc="'one'"), LEVEL=2, other=5))
    assert one == describe(defined(text.format(doc="'one'").replace("f(", "f (", 1), LEVEL=2))
    plain = Plain(3)
    before = describe(plain)
    assert plain.slow == 3 and describe(plain) == before  # a cache was filled


SCRIPT = """
import sys
sys.path[:0] = {path!r}
import torch, numpy as np
from dataclasses import dataclass, replace
from functools import partial
from bolearn import strategies
from bolearn.studies.identity import describe
@dataclass(frozen=True)
class Mine:
    level: float
    table: dict
    def __call__(self, data, bounds, q, seed):
        assert q > 0, "positive"
        return [x for x in helper(bounds) if x in ("a", "b")], {{"a", "b", "c"}}
def helper(X, *, w=torch.ones(3)):
    return np.clip(X, 0, 1) * w
things = [Mine(0.5, {{"s": {{"x", "y", "z"}}, "k": strategies.turbo}}), partial(helper, w=2),
          replace(strategies.q_log_nei, model=lambda *a: helper(*a))]
print([sorted(describe(thing).items()) for thing in things])
"""


def test_the_same_code_in_another_process_is_the_same(tmp_path: Path) -> None:
    script = SCRIPT.format(path=[str(Path(strategies.__file__).parents[2])])
    moved = tmp_path / "moved.py"
    moved.write_text("# a line more\n" + script)
    outputs = [
        subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": str(i), "PATH": "", "OMP_NUM_THREADS": "1"},
        ).stdout
        for i, command in enumerate((["-c", script], [str(moved)]))
    ]
    assert outputs[0] == outputs[1] and len(outputs[0]) > 1000


def test_a_module_of_ones_own_is_read_and_one_of_a_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    lines = []
    for k in (1, 2):
        (tmp_path / "own.py").write_text(f"def act(X):\n    return {k} * X + {7 * k}\n")
        monkeypatch.delitem(sys.modules, "own", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        lines.append(describe(defined("import own\ndef f(X):\n  return own.act(X)")))
    assert "own.act: constants is (None, 1, 7) there and (None, 2, 14) here" in difference(*lines)
    named = describe(defined("def f(X):\n  return np.clip(X, 0, 1)"))
    assert any(line.startswith("module numpy ") for line in named.values())


@pytest.mark.parametrize(
    "thing",
    [threading.Lock(), (i for i in [1]), itertools.count, sys.stderr],
    ids=lambda x: type(x).__name__,
)
def test_what_has_no_value_is_refused_unless_it_says_its_version(thing: object) -> None:
    held = Plain(thing)
    if thing is itertools.count:  # a class is fine, and an iterator that can be copied is
        assert describe(held) == describe(Plain(thing))
        return
    with pytest.raises(NotComparable, match="k: "):
        describe(held)
    for i in (1, 2):
        held.checkpoint_version = i  # type: ignore[attr-defined]
        same = Plain(None)
        same.checkpoint_version = 1  # type: ignore[attr-defined]
        assert (difference(describe(held), describe(same)) == "") == (i == 1)


def test_an_object_may_hold_itself() -> None:
    one, other = Plain(1), Plain(1)
    one.k, other.k = [one], [other]
    assert describe(one) == describe(other)

    def f(n: int) -> int:
        return f(n - 1)

    assert describe(f) == describe(f)


# --- what measures -------------------------------------------------------------------------------


def test_what_measuring_changes_is_not_what_is_measured() -> None:
    def measuring(k: float) -> tuple[Callable[[Tensor], Tensor], Plain]:
        count, log, left, rng, random = 0, [0], {"n": 5}, np.random.default_rng(), Plain(0)
        generator = torch.Generator()

        def f(X: Tensor) -> Tensor:
            nonlocal count
            count += 1
            log.append(count)
            left["n"] -= 1
            random.k = count
            noise = torch.randn(len(X), generator=generator) + float(rng.normal())
            return k * X.sum(-1) + noise

        return f, random

    f, _ = measuring(1.0)
    before = describe(f, measuring=True)
    f(torch.ones(3, 2))
    assert describe(f, measuring=True) == before == describe(measuring(1.0)[0], measuring=True)
    assert "k is 1.0 there and 2.0 here" in difference(
        before, describe(measuring(2.0)[0], measuring=True)
    )
    assert describe(f) != before  # a strategy that does so is not the same afterwards


def test_a_laboratory_may_count_its_measurements() -> None:
    class Lab:
        def __init__(self, k: float) -> None:
            self.k, self.calls, self.log = k, 0, [1.0]

        def __call__(self, X: Tensor) -> Tensor:
            self.calls += 1
            self.log.append(self.k)
            return X

    lab = Lab(1.0)
    before = describe(lab, measuring=True)
    lab(torch.ones(1))
    assert describe(lab, measuring=True) == before
    assert difference(before, describe(Lab(2.0), measuring=True)) == "k is 1.0 there and 2.0 here"
