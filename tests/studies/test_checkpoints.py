"""Studies that stop and go on: nothing is lost, nothing is mixed up, damage is noticed."""

import enum
import io
import math
import os
import re
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    OptimizationError,
    StorageError,
)
from bolearn.problems import Branin, Problem
from bolearn.seeds import Seed
from bolearn.strategies import NelderMead, StudyData, random, sobol
from bolearn.studies.files import checksum
from bolearn.studies.loop import study
from bolearn.studies.results import StudyResult


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


# --- the same strategy, and no other -------------------------------------------------------------


def shifting(k: float) -> Any:
    def shifted(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return random(data, bounds, q, seed).clamp(max=k)

    return shifted


def otherwise(k: float) -> Any:
    def shifted(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        return random(data, bounds, q, seed).clamp(min=k)

    return shifted


def test_code_constants_and_models_are_compared_not_names(tmp_path: Path) -> None:
    greedy, bold = (
        replace(strategies.ucb(), model=lambda *data, w=w: strategies.rbf_gp(*data))
        for w in (1.0, 2.0)
    )
    pairs = [
        (shifting(1.0), shifting(2.0), "k is 1.0 there and 2.0 here"),
        (shifting(1.0), otherwise(1.0), "constants|names"),
        (greedy, bold, "model: default of w is 1.0 there and 2.0 here"),
    ]
    for i, (one, other, words) in enumerate(pairs):
        path = tmp_path / f"{i}.pt"
        study(Branin(), {"a": one}, 3, 1, replicates=2, checkpoint=path)
        with pytest.raises(StorageError, match=f"'a' is not the same: .*({words})"):
            study(Branin(), {"a": other}, 3, 1, replicates=2, checkpoint=path)


def test_what_cannot_be_compared_is_refused_with_a_way_out(tmp_path: Path) -> None:
    @dataclass
    class Locked:
        lock: Any
        k: float

        def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
            return random(data, bounds, q, seed)

    path, first = tmp_path / "study.pt", Locked(threading.Lock(), 1.0)
    with pytest.raises(StorageError, match=r"'a'.* lock: lock has no .*checkpoint_version = 1"):
        study(Branin(), {"a": first}, 3, 1, replicates=2, checkpoint=path)
    versions = []
    for version in (1, 1, 2):
        versions.append(Locked(threading.Lock(), 2.0))
        versions[-1].checkpoint_version = version  # type: ignore[attr-defined]
    for same in versions[:2]:
        study(Branin(), {"a": same}, 3, 1, replicates=2, checkpoint=path)
    with pytest.raises(StorageError, match="checkpoint_version 1 there"):
        study(Branin(), {"a": versions[2]}, 3, 1, replicates=2, checkpoint=path)


# --- what was measured is enough -----------------------------------------------------------------


def test_an_objective_with_noise_of_its_own_goes_on(tmp_path: Path) -> None:
    rows: list[int] = []
    rng = np.random.default_rng(0)

    def measured(X: Tensor) -> Tensor:
        rows.append(len(X))
        return -(X**2).sum(-1) + 0.1 * torch.as_tensor(rng.normal(size=len(X)))

    problem, path = Problem(measured, SQUARE), tmp_path / "study.pt"
    arms = {"random": random, "Sobol": sobol}
    with pytest.raises(KeyboardInterrupt):
        study(Fuse(problem, 6), arms, 3, 4, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    before = sum(rows)
    result = study(Fuse(problem, -1), arms, 3, 4, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    assert before > 0 and sum(rows) == 2 * (3 + 4 + 4)
    assert torch.equal(result.Y["random"][:, :3], result.Y["Sobol"][:, :3])


def test_a_study_that_was_stopped_after_the_design_does_not_measure_it_again(
    tmp_path: Path,
) -> None:
    def interrupted(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        raise KeyboardInterrupt

    path = tmp_path / "study.pt"
    fuse = Fuse(Branin(1.0), 1_000)
    with pytest.raises(KeyboardInterrupt):
        study(fuse, {"a": interrupted}, 5, 1, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    again = Fuse(Branin(1.0), 1_000)
    study(again, {"a": random}, 5, 1, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    assert (1_000 - fuse.left, 1_000 - again.left) == (5, 1)


# --- one writer, whole files ---------------------------------------------------------------------


def test_two_writers_are_told_of_each_other(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    told: list[str] = []

    def nested(data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        with pytest.raises(StorageError) as caught:
            study(Branin(), {"a": random}, 3, 1, replicates=2, checkpoint=path)
        told.append(str(caught.value))
        return random(data, bounds, q, seed)

    study(Branin(), {"a": nested}, 3, 1, replicates=2, checkpoint=path)
    host = re.escape(socket.gethostname())
    assert re.search(rf"process {os.getpid()} on {host}, since 20\d\d-.*use another file", told[0])
    assert list(tmp_path.iterdir()) == [path]  # the lock is gone


HOLDING = """
import sys, time
from pathlib import Path
from bolearn.studies.files import only_writer
with only_writer(Path(sys.argv[1])):
    Path(sys.argv[1] + ".4711-abcd.part").write_bytes(b"half")
    print("held", flush=True)
    time.sleep(600)
"""


def test_the_lock_of_a_process_that_died_is_free(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StorageError, match=f"process {other.pid} on"):
            study(Branin(), {"a": random}, 3, 1, replicates=2, checkpoint=path)
    finally:
        other.kill()
        other.wait()
        other.stdout and other.stdout.close()
    assert len(list(tmp_path.iterdir())) == 2  # its lock, and half a file
    study(Branin(), {"a": random}, 3, 1, replicates=2, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]


def test_any_bit_that_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"a": random}, 3, 1, replicates=2, checkpoint=path)
    whole = path.read_bytes()
    steps = range(0, len(whole), len(whole) // 60)
    for at in (*steps, *range(len(whole) - 90, len(whole), 7)):
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << (at % 8)
        path.write_bytes(spoilt)
        with pytest.raises(StorageError, match="move it away"):
            study(Fuse(Branin(), 1), {"a": random}, 3, 1, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    for spoilt_whole in (b"", whole[:-1], whole[:-200], whole + b"\n", whole[100:]):
        path.write_bytes(spoilt_whole)
        with pytest.raises(StorageError, match="move it away"):
            study(Fuse(Branin(), 1), {"a": random}, 3, 1, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    path.write_bytes(whole)
    study(Branin(), {"a": random}, 3, 1, replicates=2, checkpoint=path)


def test_contents_of_the_wrong_make_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.pt"
    study(Branin(), {"a": random}, 3, 2, replicates=2, checkpoint=path)
    raw = path.read_bytes()
    seal = raw[raw.rindex(b"\nbolearn.checkpoint/") : -65]

    def written(content: object) -> None:
        file = io.BytesIO()
        torch.save(content, file)
        path.write_bytes(file.getvalue() + seal + checksum(file.getvalue()).encode() + b"\n")

    def content() -> Any:
        return torch.load(io.BytesIO(raw[: raw.rindex(seal)]), weights_only=True)

    written(content())
    study(Branin(), {"a": random}, 3, 2, replicates=2, checkpoint=path)  # this one is right
    spoilt: list[Callable[[Any], object]] = [
        lambda c: c.pop("settings"),
        lambda c: c.pop("design"),
        lambda c: c.update(arms=3),
        lambda c: c.update(arms={"a": 3}),
        lambda c: c["arms"]["a"].pop("arm"),
        lambda c: c["arms"]["a"].update(record=[1]),
        lambda c: c["arms"]["a"]["record"].pop("X"),
        lambda c: c["arms"]["a"]["record"].update(X=3),
        lambda c: c["arms"]["a"]["record"].update(Y=torch.zeros(2, 3, 1)),
        lambda c: c["arms"]["a"]["record"].update(rounds="two"),
        lambda c: c["arms"]["a"]["record"].update(rounds=99),
        lambda c: c["arms"]["a"]["record"].update(used=10**6),
        lambda c: c["arms"]["a"]["record"].update(failures=[1]),
        lambda c: c["arms"]["a"]["arm"].update(mode="sideways"),
        lambda c: c["design"].pop("Y"),
        lambda c: c["design"].update(X=torch.zeros(1, 1, 1)),
        lambda c: c["design"].update(observed=torch.zeros(2, 3)),
        lambda c: c["design"].update(failures=7),
        lambda c: c["settings"].pop("seeds"),
        lambda c: c["settings"].update(strategies=5),
        lambda c: c.update(strategies={"a": 5}),
        lambda c: c.update(problem=5),
    ]
    for i, spoil in enumerate(spoilt):
        wrong = content()
        spoil(wrong)
        written(wrong)
        with pytest.raises(StorageError, match=r"study.pt: (expected|the checkpoint belongs)"):
            study(Branin(), {"a": random}, 3, 2, replicates=2, checkpoint=path)
            pytest.fail(f"case {i} was accepted")
    for other in ([1], 5, {}, None):
        written(other)
        with pytest.raises(StorageError, match="move it away"):
            study(Branin(), {"a": random}, 3, 2, replicates=2, checkpoint=path)


# --- a strategy that raises ----------------------------------------------------------------------


@dataclass(frozen=True)
class Late:
    """Raises in round 2, until it is mended."""

    mended: bool
    batched: ClassVar[bool] = True

    def __call__(self, data: StudyData, bounds: Tensor, q: int, seed: Seed) -> Tensor:
        if data.round == 2 and not self.mended:
            raise ZeroDivisionError("late")
        return random(data, bounds, q, seed)


@pytest.mark.parametrize("kept", [False, True])
def test_a_strategy_that_raises_costs_only_its_own_arm(tmp_path: Path, kept: bool) -> None:
    path = tmp_path / "study.pt" if kept else None
    arms = {"before": random, "late": Late(False), "after": sobol}
    with pytest.raises(OptimizationError, match="'late', round 2: it raised ZeroDiv") as caught:
        study(Branin(1.0), arms, 3, 4, replicates=2, checkpoint=path)
    others = caught.value.result
    assert isinstance(others, StudyResult) and others.names == ("before", "after")
    assert "error.result" in caught.value.__notes__[0]
    whole = study(Branin(1.0), arms | {"late": Late(True)}, 3, 4, replicates=2)
    for name in others.names:
        assert torch.equal(others.Y[name], whole.Y[name])
    if not kept:
        return
    fuse = Fuse(Branin(1.0), 1_000)
    mended = arms | {"late": Late(True)}
    resumed = study(fuse, mended, 3, 4, replicates=2, checkpoint=path)  # type: ignore[arg-type]
    assert 1_000 - fuse.left == 3 + 4  # the design, for a fuse is another problem; and one arm
    for name in whole.names:
        assert torch.equal(resumed.Y[name], whole.Y[name])


def test_all_that_raised_are_named_and_nothing_is_a_result() -> None:
    with pytest.raises(OptimizationError, match="'a', round 2") as caught:
        study(Branin(), {"a": Late(False), "b": Late(False)}, 3, 4, replicates=2)
    assert caught.value.result is None and "'b', round 2" in caught.value.__notes__[0]
