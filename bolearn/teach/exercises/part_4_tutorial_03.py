"""The exercises of part_4/tutorial_03: a full loop, and how to know that it works."""

import copy
import itertools
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bolearn.teach import Case, Exercise, Fn, Rng, close, has_shape, require

State = dict[str, Any]

# --- e1: tell, which believes nothing -----------------------------------------------------------

e1 = Exercise(
    id="p4.t3.e1",
    title="A tell that believes nothing",
    hints=(
        "Four things can be wrong with a result: nobody asked for it, it came before, it is not a "
        "finite number, or it is no plain float. Decide what each should do before you write.",
        "Find the trial by its `id`, not by its place in the list. Build a new list of trials in "
        "which one entry is replaced; {**trial, ...} copies an entry and changes some of its keys.",
        "float(y) accepts a float, a NumPy scalar and a tensor of one entry. JSON has no NaN: "
        'math.isfinite decides between ("done", y) and ("failed", None).',
    ),
    size=lambda state, trial_id, y: len(state["trials"]),
)


@e1.answer
def tell(state: dict[str, Any], trial_id: int, y: float | Tensor) -> dict[str, Any]:
    """A new state in which the trial with this id has its result.

    Each trial is {"id": 7, "x": [0.5], "status": "pending", "y": None}. A finite result gives it
    the status "done" and the plain float `y`; NaN or infinity gives it "failed" and leaves `y`
    None. An id that was never asked raises KeyError, a trial that is not pending ValueError.
    The old state stays as it was, and `y` may be a tensor of one entry.
    """
    found = [trial for trial in state["trials"] if trial["id"] == trial_id]
    if not found:
        raise KeyError(f"trial {trial_id} was never asked")
    if found[0]["status"] != "pending":
        raise ValueError(f"trial {trial_id} is already {found[0]['status']}")
    value = float(y)
    finite = math.isfinite(value)
    told = {"status": "done" if finite else "failed", "y": value if finite else None}
    trials = [{**t, **told} if t["id"] == trial_id else t for t in state["trials"]]
    return {**state, "trials": trials}


def _trial(number: int, status: str = "pending", y: float | None = None) -> State:
    return {"id": number, "x": [0.25, 0.1 * number], "status": status, "y": y}


def _state(*trials: State) -> State:
    box = [[0.0, 0.0], [1.0, 1.0]]
    return {"seed": 3, "bounds": box, "n_init": 2, "trials": list(trials)}


def _mixed(rng: Rng) -> State:
    """Trials in some order, with gaps in their ids, one or more of them pending."""
    numbers = rng.sample(range(20), rng.randint(2, 6))
    trials = []
    for i, number in enumerate(numbers):
        status = "pending" if i == 0 else rng.choice(("pending", "done", "failed"))
        trials.append(_trial(number, status, rng.gauss(0, 1) if status == "done" else None))
    rng.shuffle(trials)
    return _state(*trials)


@e1.cases
def results(rng: Rng) -> Iterator[Case]:
    one = torch.tensor([[0.1]], dtype=torch.float64)
    yield Case(_state(_trial(0)), 0, 1.5)
    yield Case(_state(_trial(0)), 0, 0.1 + 0.2, note="a float with 17 digits")
    yield Case(_state(_trial(0)), 0, one, note="a tensor of one entry")
    yield Case(_state(_trial(0)), 0, np.float64(-2.5), note="a NumPy number")
    yield Case(_state(_trial(0)), 0, math.nan, note="a failed evaluation")
    yield Case(_state(_trial(0)), 0, -math.inf, note="a failed evaluation")
    yield Case(_state(_trial(0)), 0, 0.0, note="zero is a result like any other")
    yield Case(_state(_trial(7)), 7, 1.0, note="ids need not start at 0")
    yield Case(_state(_trial(1), _trial(0)), 0, 2.0, note="ids need not be in order")
    yield Case(_state(_trial(0)), 1, 1.0, raises=KeyError, note="nobody asked for trial 1")
    yield Case(_state(), 0, 1.0, raises=KeyError, note="nothing was asked")
    yield Case(_state(_trial(0, "done", 1.0)), 0, 1.0, raises=ValueError, note="told twice")
    yield Case(_state(_trial(0, "failed")), 0, 1.0, raises=ValueError, note="failed before")
    done = _state(_trial(0, "done", 1.0))
    yield Case(done, 0, math.nan, raises=ValueError, note="told twice, and failed now")
    yield Case(done, 3, math.nan, raises=KeyError, note="nobody asked for trial 3")
    yield Case(_state(_trial(0)), 0, one[0, 0], note="a tensor without axes")
    yield Case(_state(_trial(0)), 0, torch.full((1,), math.inf), note="a failed evaluation")
    for scale in (1e-6, 1.0, 1e6):
        for _ in range(6):
            state = _mixed(rng)
            trial = rng.choice(state["trials"])
            raises = None if trial["status"] == "pending" else ValueError
            yield Case(state, trial["id"], scale * rng.gauss(0, 1), raises=raises)


def _find(state: State, number: int) -> State:
    return next(trial for trial in state["trials"] if trial["id"] == number)


@e1.shape
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    new = fn(state, trial_id, y)
    require(isinstance(new, dict), "expected a dict")
    require(set(new) == set(state), "the state has other keys than before")
    require(len(new["trials"]) == len(state["trials"]), "the number of trials has changed")
    require(set(_find(new, trial_id)) == {"id", "x", "status", "y"}, "a trial has other keys")


@e1.property("the state survives JSON unchanged, without NaN")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    new = fn(state, trial_id, y)
    try:
        text = json.dumps(new, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"json.dumps refuses the new state: {error}") from None
    require(json.loads(text) == new, "the state read back is another one")


class _Watched(dict[str, Any]):
    """A dict that the kit hands over itself, not as a copy, so that a change to it shows."""


@e1.property("the old state stays as it was")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    old = _Watched(copy.deepcopy(state))
    fn(old, trial_id, y)
    require(old == state, "the state that was handed in has changed")


@e1.property("only the told trial changes")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    new = fn(state, trial_id, y)
    for before, after in zip(state["trials"], new["trials"], strict=True):
        if before["id"] != trial_id:
            require(before == after, f"trial {before['id']} has changed")
    require(all(new[key] == state[key] for key in ("seed", "bounds", "n_init")))


@e1.property("a trial can be told once")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    new = fn(state, trial_id, y)
    try:
        fn(new, trial_id, y)
    except ValueError:
        return
    raise AssertionError("telling it again raised no ValueError")


@e1.property("results may arrive in any order")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    waiting = [t["id"] for t in state["trials"] if t["status"] == "pending" and t["id"] != trial_id]
    for other in waiting[:1]:
        first = fn(fn(state, trial_id, y), other, 5.0)
        require(first == fn(fn(state, other, 5.0), trial_id, y), "the order made a difference")


@e1.value("the rule written out")
def _(fn: Fn, state: State, trial_id: int, y: Any) -> None:
    told, value = _find(fn(state, trial_id, y), trial_id), float(y)
    require(told["x"] == _find(state, trial_id)["x"], "the trial's point has changed")
    if math.isfinite(value):
        require(told["status"] == "done", "a finite result makes a trial done")
        require(type(told["y"]) is float and told["y"] == value, "y is not the plain float given")
    else:
        require(told["status"] == "failed" and told["y"] is None, "a failed trial has no value")


@e1.wrong("takes the id for the place in the list")
def _(state: State, trial_id: int, y: Any) -> State:
    if trial_id >= len(state["trials"]):
        raise KeyError(trial_id)
    trials = [dict(trial) for trial in state["trials"]]
    if trials[trial_id]["status"] != "pending":
        raise ValueError("already told")
    good = math.isfinite(float(y))
    trials[trial_id].update(status="done" if good else "failed", y=float(y) if good else None)
    return {**state, "trials": trials}


@e1.wrong("changes the state it was given: the copy is shallow")
def _(state: State, trial_id: int, y: Any) -> State:
    new = dict(state)
    for trial in new["trials"]:
        if trial["id"] == trial_id:
            if trial["status"] != "pending":
                raise ValueError("already told")
            good = math.isfinite(float(y))
            trial.update(status="done" if good else "failed", y=float(y) if good else None)
            return new
    raise KeyError(trial_id)


@e1.wrong("stores NaN as the result: json.dumps writes it, and no other program reads it")
def _(state: State, trial_id: int, y: Any) -> State:
    found = {trial["id"]: trial for trial in state["trials"]}
    if found[trial_id]["status"] != "pending":
        raise ValueError("already told")
    told = {**found[trial_id], "status": "done", "y": float(y)}
    return {**state, "trials": [told if t["id"] == trial_id else t for t in state["trials"]]}


@e1.wrong("overwrites a result that came before")
def _(state: State, trial_id: int, y: Any) -> State:
    if trial_id not in [trial["id"] for trial in state["trials"]]:
        raise KeyError(trial_id)
    good = math.isfinite(float(y))
    told = {"status": "done" if good else "failed", "y": float(y) if good else None}
    trials = [{**t, **told} if t["id"] == trial_id else t for t in state["trials"]]
    return {**state, "trials": trials}


@e1.wrong("keeps the result as it came, which may be a tensor")
def _(state: State, trial_id: int, y: Any) -> State:
    found = {trial["id"]: trial for trial in state["trials"]}
    if found[trial_id]["status"] != "pending":
        raise ValueError("already told")
    good = bool(torch.as_tensor(y).isfinite())
    told = {**found[trial_id], "status": "done" if good else "failed", "y": y if good else None}
    return {**state, "trials": [told if t["id"] == trial_id else t for t in state["trials"]]}


@e1.wrong("a failed evaluation is marked before anyone looks whether it was pending")
def _(state: State, trial_id: int, y: Any) -> State:
    found = {trial["id"]: trial for trial in state["trials"]}
    good, told = math.isfinite(float(y)), found[trial_id]
    if good and told["status"] != "pending":
        raise ValueError("already told")
    told = {**told, "status": "done" if good else "failed", "y": float(y) if good else None}
    return {**state, "trials": [told if t["id"] == trial_id else t for t in state["trials"]]}


@e1.wrong("looks for NaN only: an infinite result counts as done")
def _(state: State, trial_id: int, y: Any) -> State:
    found = {trial["id"]: trial for trial in state["trials"]}
    if found[trial_id]["status"] != "pending":
        raise ValueError("already told")
    good = not math.isnan(float(y))
    told = {"status": "done" if good else "failed", "y": float(y) if good else None}
    trials = [{**t, **told} if t["id"] == trial_id else t for t in state["trials"]]
    return {**state, "trials": trials}


@e1.wrong("moves the told trial to the end of the list")
def _(state: State, trial_id: int, y: Any) -> State:
    found = {trial["id"]: trial for trial in state["trials"]}
    if found[trial_id]["status"] != "pending":
        raise ValueError("already told")
    good = math.isfinite(float(y))
    told = {**found.pop(trial_id), "status": "done" if good else "failed"}
    return {**state, "trials": [*found.values(), {**told, "y": float(y) if good else None}]}


@e1.wrong("ignores an unknown id")
def _(state: State, trial_id: int, y: Any) -> State:
    good = math.isfinite(float(y))
    told = {"status": "done" if good else "failed", "y": float(y) if good else None}
    for trial in state["trials"]:
        if trial["id"] == trial_id and trial["status"] != "pending":
            raise ValueError("already told")
    trials = [{**t, **told} if t["id"] == trial_id else t for t in state["trials"]]
    return {**state, "trials": trials}


# --- e2: simple regret --------------------------------------------------------------------------

e2 = Exercise(
    id="p4.t3.e2",
    title="Simple regret",
    hints=(
        "For maximisation, f_opt = 5 and values 1, 4, 2 the regrets are 4, 1, 1: how far the best "
        "so far is from the truth. What happens to each number if everything is minimised?",
        "Turn minimisation into maximisation first, by one sign on the values and on f_opt. Then "
        "one running maximum along the last axis is all you need.",
        "torch.cummax(values, dim=-1).values spreads a NaN over everything after it. Replace NaN "
        "by minus infinity before, with torch.where, and the regret before the first success is "
        "infinite by itself.",
    ),
)


@e2.answer
def simple_regret(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    """How far the best value found so far is from the best possible one, after each evaluation.

    `Y` holds noise-free values in the order of evaluation, shape (..., n); so does the result.
    `f_opt` is the true optimum, `sense` is "max" or "min". A NaN in `Y` is a failed evaluation:
    it never counts, and before the first success the regret is infinite.
    """
    sign = {"max": 1.0, "min": -1.0}[sense]
    values = torch.where(Y.isnan(), -torch.inf, sign * Y)
    return sign * f_opt - torch.cummax(values, dim=-1).values


@e2.cases
def runs(rng: Rng) -> Iterator[Case]:
    row = torch.tensor([1.0, 4.0, 2.0], dtype=torch.float64)
    nan = math.nan
    yield Case(row[:1], 5.0, "max")
    yield Case(row, 5.0, "max")
    yield Case(row, 0.5, "min")
    yield Case(-row, -0.5, "max", note="negative values")
    yield Case(-row, -5.0, "min", note="negative values")
    yield Case(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64), 2.0, "max", note="ties")
    yield Case(torch.tensor([nan, 1.0, nan, 2.0], dtype=torch.float64), 3.0, "max")
    yield Case(torch.tensor([nan, 1.0, nan, 0.0], dtype=torch.float64), -1.0, "min")
    yield Case(torch.tensor([nan, nan], dtype=torch.float64), 0.0, "max", note="nothing worked")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((2,), (6,), (3, 4), (1, 5), (4, 1), (2, 3, 5)):
            sense = rng.choice(("max", "min"))
            Y = scale * rng.normal(*shape)
            if rng.random() < 0.4:
                Y[..., rng.randrange(shape[-1])] = nan
            known = Y[~Y.isnan()]
            best = (
                0.0 if known.numel() == 0 else float(known.max() if sense == "max" else known.min())
            )
            gap = scale * rng.random()
            yield Case(Y, best + gap if sense == "max" else best - gap, sense)


@e2.shape
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    has_shape(fn(Y, f_opt, sense), Y.shape, torch.float64)


@e2.property("regret is never negative and never grows along a run")
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    regret = fn(Y, f_opt, sense)
    require(regret >= 0, "a regret is negative, although f_opt is the optimum (or one is NaN)")
    require(regret[..., 1:] <= regret[..., :-1], "a regret is larger than the one before it")


@e2.property("minimising f is maximising -f")
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    other = "min" if sense == "max" else "max"
    close(fn(-Y, -f_opt, other), fn(Y, f_opt, sense), relative=True)


@e2.property("adding a constant to f changes nothing")
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    shift = 3.0 * max(1.0, abs(f_opt))
    close(fn(Y + shift, f_opt + shift, sense), fn(Y, f_opt, sense), 1e-9 * max(1.0, abs(f_opt)))


@e2.property("a regret does not know what comes after it")
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    half = (Y.shape[-1] + 1) // 2
    close(fn(Y[..., :half], f_opt, sense), fn(Y, f_opt, sense)[..., :half], relative=True)


@e2.value("a loop over Python floats")
def _(fn: Fn, Y: Tensor, f_opt: float, sense: str) -> None:
    expected = []
    for row in Y.reshape(-1, Y.shape[-1]).tolist():
        gap = math.inf
        for y in row:
            if not math.isnan(y):
                gap = min(gap, f_opt - y if sense == "max" else y - f_opt)
            expected.append(gap)
    close(fn(Y, f_opt, sense).reshape(-1), expected, relative=True)


@e2.wrong("the regret of each evaluation instead of the best so far")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    gap = f_opt - Y if sense == "max" else Y - f_opt
    return torch.where(gap.isnan(), torch.inf, gap)


@e2.wrong("measures against the best of the run, as if nothing better existed")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    best = torch.cummax(torch.where(Y.isnan(), -torch.inf, sign * Y), dim=-1).values
    return best[..., -1:] - best


@e2.wrong("a NaN spoils everything after it")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    return sign * f_opt - torch.cummax(sign * Y, dim=-1).values


@e2.wrong("a failed evaluation counts as zero")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    return (sign * f_opt - torch.cummax(sign * Y.nan_to_num(), dim=-1).values).clamp(min=0.0)


@e2.wrong("maximises whatever the sense, and takes the absolute value")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    best = torch.cummax(torch.where(Y.isnan(), -torch.inf, Y), dim=-1).values
    return (f_opt - best).abs()


@e2.wrong("a failure becomes minus infinity before the sign, and wins when minimising")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    values = sign * torch.where(Y.isnan(), -torch.inf, Y)
    return sign * f_opt - torch.cummax(values, dim=-1).values


@e2.wrong("counts only what came before: the present evaluation is missing")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    values = torch.where(Y.isnan(), -torch.inf, sign * Y).roll(1, -1)
    values[..., 0] = -torch.inf
    return sign * f_opt - torch.cummax(values, dim=-1).values


@e2.wrong("runs along the first axis, over the seeds")
def _(Y: Tensor, f_opt: float, sense: str = "max") -> Tensor:
    sign = 1.0 if sense == "max" else -1.0
    values = torch.where(Y.isnan(), -torch.inf, sign * Y)
    return sign * f_opt - torch.cummax(values, dim=0).values


# --- e3: the paired bootstrap -------------------------------------------------------------------

e3 = Exercise(
    id="p4.t3.e3",
    title="A paired bootstrap interval",
    hints=(
        "The pairs are what repeats: seed i gives one difference a_i - b_i. What would another "
        "experiment of the same size have shown? Draw n of your n differences, with replacement.",
        "All resamples at once: an index tensor of shape (n_boot, n) with entries in 0 .. n-1, the "
        "differences at these indices, their mean over the last axis. Then two quantiles.",
        "torch.randint(n, (n_boot, n), generator=torch.Generator().manual_seed(seed)) draws the "
        "indices without touching the global stream; 95 % leaves 0.025 on either side.",
    ),
    size=lambda a, b, n_boot, seed: a.numel(),
)


@e3.answer
def paired_bootstrap(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval for the mean of a - b, as (low, high).

    Entry i of `a` and of `b`, both of shape (n,), comes from the same seed i. Resample the pairs
    `n_boot` times with replacement; take the 2.5 % and 97.5 % quantiles of the resampled means.
    The same `seed` gives the same interval, whatever the state of the global random numbers.
    """
    difference = a - b
    n = len(difference)
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(n, (n_boot, n), generator=generator)
    means = difference[rows].mean(-1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=means.dtype)).tolist()
    return low, high


@e3.cases
def pairs(rng: Rng) -> Iterator[Case]:
    two = torch.tensor([1.0, 3.0], dtype=torch.float64)
    yield Case(two[:1], 0 * two[:1], 500, 0, note="one pair")
    yield Case(two, two, 500, 0, note="a method against itself")
    yield Case(two, two - 2.0, 500, 0, note="always better by two")
    yield Case(two, 0 * two, 1000, 1)
    yield Case(two, 0 * two, 1, 2, note="one resample only")
    whole = rng.uniform_in(-150, 150, 2, 12).round()
    yield Case(whole[0], whole[1], 5000, rng.randrange(100), note="whole numbers")
    for scale in (1e-6, 1.0, 1e6):
        for n in (3, 4, 5):
            yield Case(scale * rng.normal(n), scale * rng.normal(n), 1000, rng.randrange(100))
        shared = 5 * rng.normal(60)
        a, b = shared + rng.normal(60), shared + 0.5 * rng.normal(60) - 0.3
        yield Case(scale * a, scale * b, 1000, rng.randrange(100), note="good and bad starts")
        yield Case(scale * rng.normal(60), scale * rng.normal(60), 1000, rng.randrange(100))
        skew = rng.normal(5).mul(1.5).exp()
        yield Case(scale * skew, 0 * skew, 1000, rng.randrange(100), note="a heavy tail")


@e3.shape
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    interval = fn(a, b, n_boot, seed)
    require(isinstance(interval, tuple) and len(interval) == 2, "expected a pair (low, high)")
    low, high = float(interval[0]), float(interval[1])
    require(low <= high, "low is above high")


@e3.property("the seed decides, not the state of the global random numbers")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = fn(a, b, n_boot, seed)
    torch.manual_seed(2)
    np.random.seed(2)
    require(tuple(map(float, first)) == tuple(map(float, fn(a, b, n_boot, seed))), "it changed")


def _width(a: Tensor, b: Tensor) -> float:
    """The half width that normal theory gives; 0 for one pair."""
    d = a - b
    return 1.96 * float(d.std()) / math.sqrt(len(d)) if len(d) > 1 else 0.0


@e3.property("what both methods share cancels: bad starts added to both change nothing")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    common = 30 * (a - b).abs().max() * torch.linspace(-1, 1, len(a), dtype=torch.float64)
    before, after = fn(a, b, n_boot, seed), fn(a + common, b + common, n_boot, seed)
    close(list(map(float, after)), list(map(float, before)), 1e-9 * float(a.abs().max() + 1e-9))


@e3.property("a constant difference is known exactly")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    shift = float(a.abs().max())
    interval = list(map(float, fn(b + shift, b, n_boot, seed)))
    close(interval, [shift, shift], 1e-9 * max(1e-9, shift, float(b.abs().max())))


@e3.property("swapping a and b mirrors the interval, up to the luck of the draw")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    low, high = fn(a, b, n_boot, seed)
    other_low, other_high = fn(b, a, n_boot, seed + 1)
    slack = 0.4 * _width(a, b) + 1e-9 * float(a.abs().max())
    if len(a) > 20:
        close([-float(other_high), -float(other_low)], [float(low), float(high)], slack)


@e3.property("one resample has one mean, and both ends are it")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    low, high = map(float, fn(a, b, 1, seed))
    close(low, high, 1e-9 * float((a - b).abs().max() + 1e-12))


@e3.property("another seed draws other resamples")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    if len(a) > 5:
        drawn = {tuple(map(float, fn(a, b, 40, seed + k))) for k in range(4)}
        require(len(drawn) > 1, "four seeds gave the same interval")


@e3.value("the list of all resamples, where there are few enough to write down")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    d, n = (a - b).tolist(), len(a)
    if n > 5:
        return
    means = np.array([sum(draw) / n for draw in itertools.product(d, repeat=n)])
    edge = 1e-9 * max(map(abs, d))
    noise = 5 * math.sqrt(0.025 * 0.975 / n_boot)
    for bound, level in zip(map(float, fn(a, b, n_boot, seed)), (0.025, 0.975), strict=True):
        below, upto = (means < bound - edge).mean(), (means <= bound + edge).mean()
        require(below <= level + noise, "an end of the interval is too far to the right")
        require(upto >= level - noise, "an end of the interval is too far to the left")


@e3.value("the exact chance of every sum, where the differences are whole numbers")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    d, n = (a - b).numpy(), len(a)
    if n != 12:
        return
    chances, share = np.ones(1), np.bincount((d - d.min()).astype(int)) / n
    for _ in range(n):
        chances = np.convolve(chances, share)
    sums = n * d.min() + np.arange(len(chances))
    ends = np.array([list(map(float, fn(a, b, n_boot, seed + k))) for k in range(8)])
    outside = [
        np.mean([chances[sums < n * low].sum() for low in ends[:, 0]]),
        np.mean([chances[sums > n * high].sum() for high in ends[:, 1]]),
    ]
    error = math.sqrt(0.025 * 0.975 / (8 * n_boot))  # of either mean, for eight seeds
    room = chances.max()  # an end may be such a sum itself
    for chance, end in zip(outside, ("below low", "above high"), strict=True):
        require(
            abs(chance - 0.025) <= 5 * error + room,
            f"{chance:.1%} of all resampled means are {end}, expected 2.5 % (mean of 8 seeds)",
        )
    require(
        abs(sum(outside) - 0.05) <= 5 * math.sqrt(2) * error + 2 * room,
        f"{sum(outside):.1%} of all resampled means are outside, in the mean of 8 seeds",
    )


@e3.value("normal theory, where there are many pairs")
def _(fn: Fn, a: Tensor, b: Tensor, n_boot: int, seed: int) -> None:
    if len(a) < 20:
        return
    low, high = map(float, fn(a, b, n_boot, seed))
    half, centre = _width(a, b), float((a - b).mean())
    require(0.8 * half <= (high - low) / 2 <= 1.2 * half, "the interval's width is off")
    require(abs((high + low) / 2 - centre) <= 0.3 * half, "the interval's centre is off")


@e3.wrong("resamples a and b apart: the pairs are lost")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n = torch.Generator().manual_seed(seed), len(a)
    first = a[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    means = first - b[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("draws without replacement, so every mean is the same")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = torch.stack([d[torch.randperm(n, generator=g)].mean() for _ in range(n_boot)])
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("5 % on either side makes 90 %")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = d[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.05).item(), means.quantile(0.95).item()


@e3.wrong("2 % on either side makes 96 %")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = d[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.02).item(), means.quantile(0.98).item()


@e3.wrong("a thousand resamples, whatever n_boot says")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = d[torch.randint(n, (1000, n), generator=g)].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("the same seed whatever seed was given")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(0), len(a), a - b
    means = d[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("the interval of the median, not of the mean")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    middles = d[torch.randint(n, (n_boot, n), generator=g)].median(-1).values
    return middles.quantile(0.025).item(), middles.quantile(0.975).item()


@e3.wrong("mirrors the resampled means about the mean, another kind of bootstrap interval")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = 2 * d.mean() - d[torch.randint(n, (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("leaves out the last pair: its indices stop at n - 2")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    g, n, d = torch.Generator().manual_seed(seed), len(a), a - b
    means = d[torch.randint(max(n - 1, 1), (n_boot, n), generator=g)].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("the spread of single differences, not of their mean")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    d = a - b
    draws = d[torch.randint(len(d), (n_boot,), generator=torch.Generator().manual_seed(seed))]
    return draws.quantile(0.025).item(), draws.quantile(0.975).item()


@e3.wrong("draws from the global random numbers")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    n, d = len(a), a - b
    means = d[torch.randint(n, (n_boot, n))].mean(-1)
    return means.quantile(0.025).item(), means.quantile(0.975).item()


@e3.wrong("mean plus and minus 1.96 standard errors, whatever the shape of the differences")
def _(a: Tensor, b: Tensor, n_boot: int, seed: int) -> tuple[float, float]:
    d = a - b
    half = 1.96 * float(d.std()) / math.sqrt(len(d)) if len(d) > 1 else 0.0
    return float(d.mean()) - half, float(d.mean()) + half


# --- e4: a bound on what stopping costs ---------------------------------------------------------

e4 = Exercise(
    id="p4.t3.e4",
    title="What stopping now could cost",
    hints=(
        "Two numbers: the best that f could be anywhere, if the band is believed, and the value "
        "that you can be sure of at a point you have evaluated. Which edge of the band is each?",
        "The first is a maximum of mean + sqrt(beta) * sd over all points, the second a maximum of "
        "mean - sqrt(beta) * sd over the seen points only; both along the last axis.",
        "torch.where(seen, lower, -torch.inf) keeps unseen points from winning, also where all "
        "values are negative. Multiplying by the mask does not.",
    ),
    size=lambda mean, sd, seen, beta: mean.numel(),
)


@e4.answer
def regret_bound(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    """The most that stopping now can cost, if f lies in the band mean -+ sqrt(beta) * sd.

    `mean`, `sd` and the mask `seen` (True where f was evaluated, at least one point of each row)
    have shape (..., n): n points, perhaps of several runs. Stopping, we hand over the seen point
    whose lower edge is highest. The result, of shape (...), is the highest upper edge anywhere
    minus that lower edge.
    """
    width = math.sqrt(beta) * sd
    surest = torch.where(seen, mean - width, -torch.inf).amax(-1)
    return (mean + width).amax(-1) - surest


@e4.cases
def bands(rng: Rng) -> Iterator[Case]:
    def mask(*entries: int) -> Tensor:
        return torch.tensor(entries).bool()

    line = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)
    flat = torch.zeros(3, dtype=torch.float64)
    yield Case(line[:1], flat[:1], mask(1), 4.0, note="one point, known exactly")
    yield Case(line[:1], flat[:1] + 0.5, mask(1), 4.0, note="one noisy point")
    yield Case(line, flat, mask(1, 1, 1), 4.0, note="converged: everything known exactly")
    yield Case(line, flat, mask(1, 0, 1), 4.0, note="the best point was not evaluated")
    yield Case(line - 10, flat + 0.1, mask(1, 0, 1), 4.0, note="negative values")
    yield Case(line, flat + 0.3, mask(1, 1, 1), 1.0)
    yield Case(line, flat + 0.3, mask(1, 1, 1), 9.0, note="a wider band")
    yield Case(line, torch.tensor([0.0, 2.0, 0.0]).double(), mask(1, 1, 0), 4.0, note="one noisy")
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((2,), (5,), (2, 3), (1, 4), (3, 1), (2, 2, 4)):
            seen = rng.uniform_in(0, 1, *shape) < 0.5
            seen[..., rng.randrange(shape[-1])] = True
            mean, sd = scale * (rng.normal(*shape) - 2), scale * rng.uniform_in(0, 1, *shape)
            yield Case(mean, sd, seen, rng.choice((1.0, 4.0, 9.0)))


def _tensor(bound: Any) -> Tensor:
    """The result as a tensor: of one run it may also be a float, of several a NumPy array."""
    return torch.as_tensor(bound, dtype=torch.float64)


@e4.shape
def _(fn: Fn, mean: Tensor, sd: Tensor, seen: Tensor, beta: float) -> None:
    has_shape(_tensor(fn(mean, sd, seen, beta)), mean.shape[:-1])


@e4.property("no function inside the band has a larger regret")
def _(fn: Fn, mean: Tensor, sd: Tensor, seen: Tensor, beta: float) -> None:
    bound, half = _tensor(fn(mean, sd, seen, beta)), math.sqrt(beta) * sd
    given = torch.where(seen, mean - half, -torch.inf).argmax(-1, keepdim=True)
    for shares in (1.0, 0.0, *torch.linspace(-1, 1, 7).tolist()):
        f = mean + half * shares
        f = f.scatter(-1, given, (mean - half).gather(-1, given))
        regret = f.amax(-1) - f.gather(-1, given)[..., 0]
        room = 1e-9 * float(mean.abs().max())
        require(bound >= regret - room, "a function inside the band has a larger regret than that")


@e4.property("a wider band never promises more")
def _(fn: Fn, mean: Tensor, sd: Tensor, seen: Tensor, beta: float) -> None:
    room = 1e-9 * float(mean.abs().max())
    wide, narrow = (_tensor(fn(mean, k * sd, seen, beta)) for k in (1.5, 1.0))
    require(wide >= narrow - room, "widening the band made the bound smaller")


@e4.property("adding a constant to f changes nothing")
def _(fn: Fn, mean: Tensor, sd: Tensor, seen: Tensor, beta: float) -> None:
    size = float(mean.abs().max())
    moved, before = (_tensor(fn(mean + k * size, sd, seen, beta)) for k in (5.0, 0.0))
    close(moved, before, 1e-9 * size)


@e4.value("a loop over Python floats")
def _(fn: Fn, mean: Tensor, sd: Tensor, seen: Tensor, beta: float) -> None:
    n, expected = mean.shape[-1], []
    rows = zip(*(t.reshape(-1, n).tolist() for t in (mean, sd, seen)), strict=True)
    for m, s, used in rows:
        high = max(u + math.sqrt(beta) * v for u, v in zip(m, s, strict=True))
        low = max(u - math.sqrt(beta) * v for u, v, w in zip(m, s, used, strict=True) if w)
        expected.append(high - low)
    close(_tensor(fn(mean, sd, seen, beta)).reshape(-1), expected, relative=True)


@e4.wrong("trusts the lower edge at points that were never evaluated")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    width = math.sqrt(beta) * sd
    return (mean + width).amax(-1) - (mean - width).amax(-1)


@e4.wrong("beta itself instead of its square root")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    surest = torch.where(seen, mean - beta * sd, -torch.inf).amax(-1)
    return (mean + beta * sd).amax(-1) - surest


@e4.wrong("believes the mean at the seen points, as if they were known exactly")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    best = torch.where(seen, mean, -torch.inf).amax(-1)
    return (mean + math.sqrt(beta) * sd).amax(-1) - best


@e4.wrong("hands over the seen point of the highest mean, not of the highest lower edge")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    width = math.sqrt(beta) * sd
    best = torch.where(seen, mean, -torch.inf).argmax(-1, keepdim=True)
    return (mean + width).amax(-1) - (mean - width).gather(-1, best)[..., 0]


@e4.wrong("two standard deviations, whatever beta says")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    surest = torch.where(seen, mean - 2 * sd, -torch.inf).amax(-1)
    return (mean + 2 * sd).amax(-1) - surest


@e4.wrong("multiplies by the mask, so an unseen point stands at zero")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    width = math.sqrt(beta) * sd
    return (mean + width).amax(-1) - ((mean - width) * seen).amax(-1)


@e4.wrong("mixes the runs: one maximum over everything")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    width = math.sqrt(beta) * sd
    gap = (mean + width).max() - (mean - width)[seen].max()
    return gap.expand(mean.shape[:-1])


@e4.wrong("takes the upper edge only at the seen points: nothing can hide in the gaps")
def _(mean: Tensor, sd: Tensor, seen: Tensor, beta: float = 4.0) -> Tensor:
    width = math.sqrt(beta) * sd
    high = torch.where(seen, mean + width, -torch.inf).amax(-1)
    return high - torch.where(seen, mean - width, -torch.inf).amax(-1)
