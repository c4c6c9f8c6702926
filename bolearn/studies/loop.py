"""The study: every method on the same starts and the same noise, many seeds at once.

One run of an optimiser proves nothing. A study runs each strategy on R replicates as one batched
loop, so that tens of seeds cost little more than one. The design is paired: in replicate i all
strategies start from the same Sobol points, and evaluation j meets the same noise, whatever was
evaluated before. Differences within replicates are then far less noisy than the methods themselves
(`bolearn.stats`).

Taught in part_4/tutorial_03.
"""

import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata

import torch
from torch import Tensor

from ..errors import BolearnError, DataError
from ..seeds import Seed, replicate_seeds
from ..shapes import check_bounds, check_count
from ..strategies.protocol import Strategy, StudyData
from .arm import Arm
from .checkpoint import Checkpoint, check_place, check_state
from .files import only_writer
from .progress import ProgressLine
from .results import StudyResult
from .trials import Batch, Plan, Record, StudyProblem, Trials, check_space, fidelity_of, short


def study(
    problem: StudyProblem,
    strategies: Mapping[str, Strategy],
    n_init: int,
    n_iter: int,
    q: int = 1,
    replicates: int = 64,
    seed: Seed = 0,
    progress: bool | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
) -> StudyResult:
    """Run every strategy on the same replicates: shared starts, shared noise, one batched loop.

    Replicate i has the seed ``derive(seed, i)``. Its initial design, the noise of evaluation j and
    the seed that a strategy gets in round t are derived from it by name, so that they do not depend
    on the other replicates or on the other strategies. Two strategies with the same code see the
    same seeds: where they do the same, they get the same.

    A strategy is called with all replicates at once if it says that it can (``batched = True``), or
    if in the first two rounds it proposes the same points in the batch as alone (tried on up to
    three replicates). Otherwise it is called replicate by replicate, and the result says so.

    An evaluation that raises or returns a number that is not finite is recorded as a failure and
    masked out: strategies see `observed` False, no average contains it.

    Over a space (`bolearn.problems.SpaceProblem`), X holds codes, and proposals have to be legal;
    ``problem.space.decode`` makes dictionaries of them.

    What counts is output 0 without noise: with constraints only where they are met (without noise,
    too), and with a fidelity at its target 1, whatever the fidelity of the measurement. Of a
    problem with several objectives and a reference point, what counts is the hypervolume of all
    that was evaluated, and regret is what is missing to ``problem.optimal_hypervolume``.

    Args:
        problem: what to maximise, a `bolearn.Problem`.
        strategies: name -> strategy; see `bolearn.strategies`.
        n_init: points of the shared initial Sobol design.
        n_iter: rounds after it.
        q: points per round.
        replicates: R, how many runs of each strategy.
        seed: an int, or one for each replicate, all different.
        progress: show a line for each strategy on standard error: rounds, time elapsed, time left.
            Default: if that is a terminal, and not in continuous integration (``CI`` is set).
        checkpoint: a file in which the state is saved after every round; if it exists, the study
            goes on from there and ends as if it had never stopped. It goes on only with the same
            strategies: code, constants, closures, fields and the globals they mention are compared.
            One that holds what cannot be compared (an open file) needs an attribute
            ``checkpoint_version``, which is then compared instead. Of the problem, too; if that
            has changed, the initial design is measured again and has to give the same values.

    Raises:
        DataError: counts below 1, repeated seeds, no strategies, a problem that fails everywhere,
            proposals that are not finite or outside the bounds.
        ShapeError: proposals or values of the wrong shape.
        OptimizationError: a strategy raised; its own error is the cause. The other strategies are
            run first, and ``error.result`` is the `StudyResult` of those that ended (None if none
            did). So it is for each error of a strategy. With a checkpoint, the mended strategy can
            be run again under its name; the others are not.
        StorageError: a checkpoint of another study, one that another process writes to, that cannot
            be read or written, or a state that cannot be saved.
        UnsupportedError: a fidelity whose target 1 is not within the bounds.

    Example:
        >>> import bolearn as bl
        >>> problem = bl.problems.Branin()
        >>> arms = {"random": bl.strategies.random, "Sobol": bl.strategies.sobol}
        >>> result = bl.study(problem, arms, n_init=4, n_iter=6, replicates=8)
        >>> result.regret("Sobol").shape
        torch.Size([8, 10])
    """
    if not isinstance(problem, StudyProblem):
        raise DataError(
            f"problem: expected a bolearn.Problem, got {type(problem).__name__}; "
            "wrap a function as bolearn.Problem(f, bounds)"
        )
    n_init, n_iter, q, replicates = (
        check_count(name, value)
        for name, value in (
            ("n_init", n_init),
            ("n_iter", n_iter),
            ("q", q),
            ("replicates", replicates),
        )
    )
    _check_strategies(strategies)
    run_seeds = tuple(replicate_seeds(seed, (replicates,)))
    _check_different(run_seeds)
    plan = Plan(problem, check_bounds(problem.bounds), n_init, n_iter, q, run_seeds)
    check_space(plan)
    trials = Trials(problem, run_seeds, fidelity_of(problem, plan.bounds))
    place = check_place(checkpoint)
    with only_writer(place):
        saved = Checkpoint.open(place, plan, strategies)
        line = ProgressLine(progress, list(strategies), n_iter)
        start = saved.design(trials)
        _check_design(start)
        done, raised = {}, {}
        for name, strategy in strategies.items():
            try:
                done[name] = _run(name, strategy, start, plan, trials, saved, line)
            except _Raised as error:
                raised[name] = error.error
                saved.store_failure(name, str(error.error))
    if raised:
        raise _with_the_others(raised, _result(plan, done) if done else None)
    return _result(plan, done)


class _Raised(Exception):
    """Carries the error of one strategy past those of the study."""

    def __init__(self, error: BolearnError) -> None:
        super().__init__()
        self.error = error


def _run(
    name: str,
    strategy: Strategy,
    start: Batch,
    plan: Plan,
    trials: Trials,
    saved: Checkpoint,
    line: ProgressLine,
) -> tuple[Record, Arm]:
    """All rounds of one strategy that are not in the checkpoint."""
    record = Record.begin(start, plan.n_init + plan.n_iter * plan.q, plan.n_iter + 1)
    arm = Arm(name, strategy, plan.bounds, plan.seeds, space=plan.space)
    saved.restore(name, record, arm)
    for t in range(record.rounds, plan.n_iter + 1):
        try:
            _advance(record, arm, trials, plan, t)
            if saved.path is not None:
                check_state(name, arm)
        except BolearnError as error:
            raise _Raised(error) from error
        saved.store(name, record, arm)
        line.show(name, t)
    return record, arm


def _with_the_others(raised: dict[str, BolearnError], result: StudyResult | None) -> BolearnError:
    """The first strategy's error, with what the others did."""
    first, *more = raised.values()
    first.result = result
    if result is not None:
        first.add_note(f"What {', '.join(map(repr, result.names))} did is in error.result.")
    for error in more:
        first.add_note(f"Another strategy raised, too: {error}")
    return first


def _advance(record: Record, arm: Arm, trials: Trials, plan: Plan, t: int) -> None:
    """One round: propose (not after the last), recommend for the data so far, evaluate."""
    data = record.data(arm.bounds, plan.n_init, t, plan.noise_free)
    limits = getattr(plan.problem, "num_constraints", 0)
    data = replace(data, ref_point=plan.ref_point, num_constraints=limits)
    if plan.space is not None:
        same = plan.problem.noise_std == 0
        data = replace(data, space=plan.space, unavailable=plan.unavailable, deterministic=same)
        data = replace(data, entries=plan.entries)
    proposal = arm.propose(data, plan.q) if t < plan.n_iter else None
    if arm.recommends:
        # The state of this round was made from exactly this data: no second fit is needed.
        point = arm.recommend(data)
        record.recommended[:, t] = point
        record.recommended_values[:, t] = _values_at(point, data, record, trials)
    record.seconds = arm.seconds
    if proposal is not None:
        record.append(trials.evaluate(proposal, first=record.used))
    record.rounds = t + 1


def _values_at(point: Tensor, data: StudyData, record: Record, trials: Trials) -> Tensor:
    """Noise-free values at ``R d``, looked up where the point was evaluated already."""
    same = torch.eq(data.X, point.unsqueeze(1)).all(-1) & data.observed
    known = record.values[:, : record.used].gather(1, same.int().argmax(-1, keepdim=True))[:, 0]
    if same.any(-1).all():
        return known
    return torch.where(same.any(-1), known, trials.noiseless(point.unsqueeze(1))[:, 0])


def _result(plan: Plan, done: dict[str, tuple[Record, Arm]]) -> StudyResult:
    """What all strategies did, turned round: a dictionary for each kind of fact."""
    problem = plan.problem
    recommending = {name: r for name, (r, arm) in done.items() if arm.recommends}
    return StudyResult(
        problem=plan.name,
        output=str(getattr(problem, "output", "value")),
        bounds=plan.bounds,
        optimal_value=_known(problem.optimal_value),
        noise_std=float(problem.noise_std),
        n_init=plan.n_init,
        n_iter=plan.n_iter,
        q=plan.q,
        seeds=plan.seeds,
        X={name: r.X for name, (r, _) in done.items()},
        Y={name: r.Y for name, (r, _) in done.items()},
        observed={name: r.observed for name, (r, _) in done.items()},
        values={name: r.values for name, (r, _) in done.items()},
        recommended={name: r.recommended for name, r in recommending.items()},
        recommended_values={name: r.recommended_values for name, r in recommending.items()},
        seconds={name: r.seconds for name, (r, _) in done.items()},
        batched={name: arm.mode == "batch" for name, (_, arm) in done.items()},
        notes={name: arm.note for name, (_, arm) in done.items() if arm.note},
        failures={name: tuple(r.failures) for name, (r, _) in done.items()},
        versions=_versions(),
        ref_point=() if plan.ref_point is None else tuple(plan.ref_point.tolist()),
        optimal_hypervolume=_known(getattr(problem, "optimal_hypervolume", None)),
        outcomes={name: r.outcomes for name, (r, _) in done.items() if r.outcomes.shape[-1]},
    )


def _known(number: float | None) -> float | None:
    return None if number is None else float(number)


def _check_different(seeds: tuple[int, ...]) -> None:
    """A seed that comes twice is one run that counts twice."""
    twice = [seed for seed, count in Counter(seeds).items() if count > 1]
    if twice:
        raise DataError(
            f"seed: expected a different one for each replicate, got {short(twice)} more than "
            "once; the same run twice is no evidence: use seed=0, or range(replicates)"
        )


def _check_strategies(strategies: Mapping[str, Strategy]) -> None:
    if not isinstance(strategies, Mapping) or not strategies:
        raise DataError(
            'strategies: expected a dictionary such as {"Sobol": bolearn.strategies.sobol}, '
            f"got {type(strategies).__name__}" + (" without entries" if not strategies else "")
        )
    for name, strategy in strategies.items():
        if not isinstance(name, str) or not callable(strategy):
            raise DataError(
                f"strategies: expected names and functions (data, bounds, q, seed) -> X, "
                f"got {name!r}: {type(strategy).__name__}"
            )
        if isinstance(strategy, type):
            raise DataError(f"strategies: {name!r} is a class; give an instance, {name}(...)")


def _check_design(start: Batch) -> None:
    """Every replicate needs one success, or there is nothing to learn from."""
    without = (~start.observed.any(-1)).nonzero()[:, 0].tolist()
    if without:
        n = start.X.shape[1]
        raise DataError(
            f"problem: none of the n_init={n} initial evaluations succeeded in replicates "
            f"{short(without)} (of {len(start.X)}); the first said: {start.failures[0].reason}. "
            "Mend the problem, or use a larger n_init"
        ) from start.error


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("bolearn", "torch", "gpytorch", "numpy", "scipy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
