"""Studies that stop and go on: nothing is lost, nothing is mixed up, damage is noticed."""

import enum
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from study_cases import BASELINES, SQUARE, Fuse
from torch import Tensor

from bolearn import strategies
from bolearn.errors import (
    BolearnError,
    StorageError,
)
from bolearn.problems import Branin, Problem
from bolearn.seeds import Seed
from bolearn.strategies import NelderMead, StudyData, random, sobol
from bolearn.studies.loop import study


@pytest.mark.parametrize("evaluations", [8, 14, 21])
def test_an_interrupted_study_goes_on_where_it_was(tmp_path: Path, evaluations: int) -> None:
    problem = Branin(noise_std=1.0)
    whole = study(problem, BASELINES, 4, 6, replicates=3)
    path = tmp_path / "study.pt"
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(problem, evaluations), BASELINES, 4, 6, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    rest = Fuse(problem, 1_000)
    resumed = study(rest, BASELINES, 4, 6, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    for name in whole.names:
        assert torch.equal(whole.X[name], resumed.X[name])
        assert torch.equal(whole.Y[name], resumed.Y[name])
        assert whole.batched[name] == resumed.batched[name]
    assert 1_000 - rest.left < 4 + 3 * 6  # it did not start anew
    again = study(problem, BASELINES, 4, 6, replicates=3, checkpoint=path)
    assert again.seconds == resumed.seconds  # nothing is done twice
    assert list(tmp_path.iterdir()) == [path]


KILLED = """
import os, sys, torch
import bolearn as bl

class Dying(bl.Problem):
    left = int(sys.argv[2])

    def __call__(self, X, seed=None):
        Dying.left -= 1
        if Dying.left == 0:
            os._exit(9)  # no exception, no clean-up: as if the machine were switched off
        return super().__call__(X, seed)

problem = bl.problems.Branin(noise_std=1.0)
dying = Dying(problem.f, problem.bounds, problem.optimal_value, 1.0, name=problem.name)
turbo = bl.strategies.TuRBO(candidates=16, num_features=16)
arms = {"Sobol": bl.strategies.sobol, "TuRBO": turbo}
bl.study(dying, arms, n_init=4, n_iter=5, q=2, replicates=3, checkpoint=sys.argv[1])
"""


def test_a_killed_process_loses_one_round_at_most(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    turbo = strategies.TuRBO(candidates=16, num_features=16)
    arms = {"Sobol": sobol, "TuRBO": turbo}
    whole = study(Branin(noise_std=1.0), arms, 4, 5, q=2, replicates=3)
    done = subprocess.run([sys.executable, "-c", KILLED, path, "21"], capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    rest = Fuse(Branin(noise_std=1.0), 1_000)
    resumed = study(rest, arms, 4, 5, q=2, replicates=3, checkpoint=path)  # type: ignore[arg-type]
    # 4 of the design, 10 for Sobol and 6 for TuRBO were done; the design is measured again
    assert 1_000 - rest.left == 4 + 4
    for name in arms:
        assert torch.equal(whole.X[name], resumed.X[name])
        assert torch.equal(whole.Y[name], resumed.Y[name])
        same = torch.eq(
            whole.recommended_values.get(name, torch.zeros(1)),
            resumed.recommended_values.get(name, torch.zeros(1)),
        )
        assert bool(same.all())


def test_a_checkpoint_of_another_strategy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"a": NelderMead()}, 3, 2, replicates=2, checkpoint=path)
    for other in (NelderMead(step=0.1), random, partial(random), lambda *_: None):
        with pytest.raises(StorageError, match="'a' is not the same"):
            study(Branin(), {"a": other}, 3, 2, replicates=2, checkpoint=path)
    study(Branin(), {"a": NelderMead()}, 3, 2, replicates=2, checkpoint=path)
    path = tmp_path / "another.pt"
    study(Branin(), {"a": strategies.ucb(1.0)}, 3, 1, replicates=2, checkpoint=path)
    with pytest.raises(StorageError, match="'a' is not the same"):
        study(Branin(), {"a": strategies.ucb(2.0)}, 3, 1, replicates=2, checkpoint=path)


def test_a_checkpoint_of_another_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"random": random}, 3, 2, replicates=2, checkpoint=path)
    with pytest.raises(StorageError, match="n_iter is 2 there and 3 here"):
        study(Branin(), {"random": random}, 3, 3, replicates=2, checkpoint=path)
    path.write_bytes(b"nothing")
    with pytest.raises(StorageError, match="move it away"):
        study(Branin(), {"random": random}, 3, 2, replicates=2, checkpoint=path)


def test_a_state_that_cannot_be_saved_is_refused_at_once(tmp_path: Path) -> None:
    def odd(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        return random(data, bounds, q, seed), object()

    with pytest.raises(StorageError, match="a state made of tensors"):
        study(Branin(), {"odd": odd}, 3, 2, replicates=2, checkpoint=tmp_path / "study.pt")


def test_a_study_with_a_model_can_be_interrupted_too(tmp_path: Path) -> None:
    arms = {"LogEI": strategies.log_ei}
    path = tmp_path / "study.pt"
    whole = study(Branin(), arms, 4, 3, replicates=2)
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(Branin(), 6), arms, 4, 3, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    resumed = study(Branin(), arms, 4, 3, replicates=2, checkpoint=path)
    assert torch.equal(whole.X["LogEI"], resumed.X["LogEI"])
    assert torch.equal(whole.recommended["LogEI"], resumed.recommended["LogEI"])


def test_a_checkpoint_of_another_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    arms = {"random": random}
    once, twice = (
        Problem(
            lambda X, k=k: torch.where(X[:, 0] > 0.8, math.nan, k * X.sum(-1)), SQUARE, None, 1.0
        )
        for k in (1.0, 2.0)
    )
    whole = study(once, arms, 8, 2, replicates=4, checkpoint=path)
    assert not whole.observed["random"][:, :8].all()
    again = study(once, arms, 8, 2, replicates=4, checkpoint=path)
    assert torch.equal(whole.X["random"], again.X["random"])
    with pytest.raises(StorageError, match="belongs to another problem"):
        study(twice, arms, 8, 2, replicates=4, checkpoint=path)


@dataclass(frozen=True)
class Fixed:
    """The same point for ever."""

    at: tuple[float, ...]

    def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return (bounds[0] + (bounds[1] - bounds[0]) * self.at[0]).expand(*data.X.shape[:-2], q, 2)


class Holding:
    """A strategy of ordinary make, with anything in it."""

    def __init__(self, at: object) -> None:
        self.at, self.back = at, self

    def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return random(data, bounds, q, seed)


def test_a_checkpoint_remembers_what_strategies_are_made_of(tmp_path: Path) -> None:
    def sharpened(
        data: StudyData, bounds: Tensor, q: int, seed: Seed, k: tuple[float, ...]
    ) -> Tensor:
        return random(data, bounds, q, seed)

    kinds: list[Callable[[float], Any]] = [
        lambda k: Fixed((k,)),
        Holding,
        lambda k: Holding({"a": [k]}),
        lambda k: Holding(torch.tensor(k)),
        lambda k: Holding(np.array([k])),
        lambda k: Holding(Fixed((k,))),
        lambda k: Holding(k).__call__,
        lambda k: partial(sharpened, k=(k,)),
    ]
    for i, kind in enumerate(kinds):
        path = tmp_path / f"{i}.pt"
        study(Branin(), {"a": kind(0.1)}, 3, 1, replicates=2, checkpoint=path)
        study(Branin(), {"a": kind(0.1)}, 3, 1, replicates=2, checkpoint=path)
        with pytest.raises(StorageError, match="'a' is not the same"):
            study(Branin(), {"a": kind(0.9)}, 3, 1, replicates=2, checkpoint=path)


class Pair(NamedTuple):
    a: int
    b: int


class Level(enum.IntEnum):
    LOW = 1


@pytest.mark.parametrize(
    ("state", "where"),
    [
        (np.float64(1.0), "numpy.float64 as state"),
        ({"best": [np.float64(1.0)]}, r"numpy.float64 as state\['best'\]\[0\]"),
        ({np.str_("a"): 1}, "the key"),
        ([1, Pair(1, 2)], r"Pair as state\[1\]"),
        (Level.LOW, "Level as state"),
        (defaultdict(list), "defaultdict as state"),
        ({"a": {1}}, r"set as state\['a'\]"),
    ],
)
def test_states_that_would_come_back_as_something_else_are_refused(
    tmp_path: Path, state: object, where: str
) -> None:
    def keeping(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> tuple[Tensor, object]:
        return random(data, bounds, q, seed), state

    with pytest.raises(StorageError, match=where):
        study(Branin(), {"a": keeping}, 3, 2, replicates=2, checkpoint=tmp_path / "study.pt")


def test_states_that_are_accepted_come_back(tmp_path: Path) -> None:
    state: dict[object, Any] = {"a": [1, 2.5, "x", None, True], 3: (torch.ones(2), torch.Size([3]))}
    state["net"] = torch.nn.Linear(2, 1).state_dict()
    seen: list[Any] = []

    @dataclass(frozen=True)
    class Keeping:
        batched: ClassVar[bool] = True

        def __call__(
            self, data: StudyData, bounds: Tensor, q: int, seed: Seed
        ) -> tuple[Tensor, object]:
            seen.append(data.state)
            return random(data, bounds, q, seed), state

    path = tmp_path / "study.pt"
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(Branin(), 5), {"a": Keeping()}, 3, 3, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    seen.clear()
    study(Branin(), {"a": Keeping()}, 3, 3, replicates=2, checkpoint=path)
    back = seen[0]
    assert list(back) == list(state) and back["a"] == state["a"]
    assert [type(x) for x in back[3]] == [Tensor, torch.Size]
    assert all(torch.equal(back["net"][k], v) for k, v in state["net"].items())


@pytest.mark.usefixtures("unchecked")
def test_bad_places_for_a_checkpoint_are_found_before_any_work(tmp_path: Path) -> None:
    torch.save({"settings": None, "arms": {}}, tmp_path / "none.pt")
    torch.save({"settings": {}, "arms": 3}, tmp_path / "arms.pt")
    places: list[tuple[object, str]] = [
        (tmp_path / "missing" / "study.pt", "does not exist; create it"),
        (5, "expected the path of a file"),
        (tmp_path / "none.pt", "move it away"),
        (tmp_path / "arms.pt", "move it away"),
        (tmp_path, "move it away"),
    ]
    for place, words in places:
        fuse = Fuse(Branin(), 1)  # the first evaluation would be a KeyboardInterrupt
        with pytest.raises(BolearnError, match=words):
            study(fuse, {"a": random}, 3, 2, replicates=2, checkpoint=place)  # type: ignore[arg-type]
