"""Strategies that search near the best point: TuRBO and SCBO, for many inputs and evaluations.

Taught in part_5/tutorial_01.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import DataError, UnsupportedError
from ..models.fit import fit_mll
from ..paths import draw_paths
from ..sampling import shifted_sobol, sobol_points
from ..seeds import Seed, derive, derive_each, replicate_seeds, uniform
from ..shapes import check_count
from ..transforms import Standardize
from .constrained import bilog, check_one_objective
from .modelling import BuildModel, FitModel, Recipe, best_evaluated, matern_gp
from .protocol import StudyData

_WORTHWHILE = 1e-3  # of the spread of the values: a smaller gain is no success of a trust region
_MOVED = 20  # coordinates in which a trust region's candidate differs from its centre, on average


@dataclass(frozen=True)
class TuRBO:
    """Trust-region Bayesian optimisation: Thompson sampling near the best point (TuRBO-1, q >= 1).

    A box around the best point, elongated along the model's lengthscales, is the search space. It
    doubles after `successes` improving rounds in a row and halves after `failures` rounds without;
    when it is shorter than `shortest`, the replicate forgets its data and starts anew from a Sobol
    design. Each replicate has a region of its own; all are fitted and searched as one batch.

    An improvement of the best value observed counts if it exceeds 1e-3 standard deviations of the
    region's values (the authors' program takes 1e-3 |best|, which depends on where zero is). The
    paths believe that failed points of the region gave its worst value, as in `ModelBased`.

    With several outputs those after the first are limits, feasible where <= 0 (SCBO). They are
    modelled by their bilog (`constrained.bilog`). A feasible point is better than any that is not;
    of two that are not, the one is better whose violations, each in units of the spread of its
    limit, have the smaller sum. That order decides about the centre, about success, and about the
    candidates of each path.

    Args:
        model, fit, noise_free: as in `ModelBased`; with a kernel that has paths, or a method
            ``draw_paths``.
        length, shortest, longest: first, least and greatest edge of the region, in unit cubes.
        successes, failures: rounds; default failures ceil(max(4, d) / q).
        restart: evaluations of the design after a restart; default: the study's n_init.
        candidates: points among which each path is maximised; default min(100 d, 5000).
        num_features: as in `draw_paths`.

    Raises:
        DataError: lengths other than 0 < shortest <= length <= longest, counts below 1.

    Source:
        Eriksson, Pearce, Gardner, Turner & Poloczek, "Scalable global optimization via local
        Bayesian optimization", NeurIPS 2019, arXiv:1910.01739, section 2 and its supplement;
        Eriksson & Poloczek, "Scalable constrained Bayesian optimization", AISTATS 2021,
        arXiv:2002.08526, section 2.
    """

    model: BuildModel = matern_gp
    length: float = 0.8
    shortest: float = 0.5**7
    longest: float = 1.6
    successes: int = 3
    failures: int | None = None
    restart: int | None = None
    candidates: int | None = None
    num_features: int = 1024
    fit: FitModel | None = fit_mll
    batched: bool = True
    noise_free: bool | None = False

    def __post_init__(self) -> None:
        """Check at the border, before a region is made."""
        lengths = (self.shortest, self.length, self.longest)
        numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in lengths)
        if not numbers or not 0 < lengths[0] <= lengths[1] <= lengths[2] < math.inf:
            raise DataError(
                "TuRBO: expected finite lengths 0 < shortest <= length <= longest, got "
                f"shortest={self.shortest!r}, length={self.length!r}, longest={self.longest!r}"
            )
        check_count("successes", self.successes)
        check_count("num_features", self.num_features)
        for name in ("failures", "restart", "candidates"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))

    def __call__(
        self, data: StudyData, bounds: Float[Tensor, "2 d"], q: int, seed: Seed
    ) -> tuple[Float[Tensor, "*r q d"], object]:
        """Update the regions, fit, and maximise q paths in each; the state holds the regions."""
        if data.space is not None:
            raise UnsupportedError(
                "turbo moves in boxes, got a space; use log_ei, q_log_ei or thompson"
            )
        data = _bent(data)
        if data.state is None:
            region = self._first(data, seed)
        else:
            region = self._updated(cast("dict[str, Any]", data.state), data, q, seed)
        r, (n, d) = data.X.shape[:-2], data.X.shape[-2:]
        age = n - region["first"]  # evaluations in this region
        inside = torch.arange(n, device=age.device) >= region["first"].unsqueeze(-1)
        own = data.observed & inside
        starting = (age < self._restart(data)) | ~own.any(-1)
        X = torch.zeros(*r, q, d, dtype=data.X.dtype, device=data.X.device)
        if not starting.all():
            # a replicate that starts anew has no data of its own yet: its fit is not used
            seen = torch.where(starting.unsqueeze(-1), data.observed, own)
            recipe = Recipe(self.model, self.fit, self.noise_free)
            own_data = replace(data, observed=seen)
            model_seed = derive_each(seed, "model")
            model = recipe.fitted(own_data, region["fit"], model_seed)
            lied_to = recipe.with_lies(model, own_data, ~data.observed & inside, model_seed)
            X = self._maxima(model, lied_to, own_data, q, region["length"], seed)
            known = callable(getattr(model, "hyperparameters", None)) and self.fit is not None
            region["fit"] = model.hyperparameters() if known else None
        if starting.any():
            fresh = _continued(bounds, torch.where(starting, age, 0), q, region["seeds"])
            X = torch.where(starting[..., None, None], fresh, X)
        return X, region

    def recommend(self, data: StudyData) -> Float[Tensor, "*r d"]:
        """The point with the best posterior mean among all evaluated, in whichever region."""
        state = cast("dict[str, Any] | None", data.state)
        last = None if state is None else state["fit"]
        recipe, data = Recipe(self.model, self.fit, self.noise_free), _bent(data)
        if data.Y.shape[-1] == 1:
            return recipe.recommended(data, last)
        return _centre(recipe.current(data, last), data)

    def _restart(self, data: StudyData) -> int:
        return data.n_init if self.restart is None else self.restart

    def _first(self, data: StudyData, seed: Seed) -> dict[str, Any]:
        """The regions in the first round; ``first`` is the first row of the data they look at."""
        y = data.X[..., 0]
        zero = torch.zeros(data.X.shape[:-2], dtype=torch.long, device=data.X.device)
        return {
            "first": zero,
            "length": torch.full_like(y[..., 0], self.length),
            "wins": zero,
            "losses": zero,
            "rows": data.X.shape[-2],
            "seeds": seed,
            "fit": None,
        }

    def _updated(self, old: dict[str, Any], data: StudyData, q: int, seed: Seed) -> dict[str, Any]:
        """The regions after the last round's results."""
        n, d = data.X.shape[-2:]
        row = torch.arange(n, device=data.X.device)
        own = data.observed & (row >= old["first"].unsqueeze(-1))
        scale = Standardize.fit(data.Y[..., :1], own).scale[..., 0, 0]
        merit = torch.where(own, _merit(data.Y, data.Y, own), -torch.inf)
        before = torch.where(row < old["rows"], merit, -torch.inf).amax(-1)
        better = merit.amax(-1) > before + _WORTHWHILE * scale
        counting = old["rows"] - old["first"] >= self._restart(data)
        wins = torch.where(counting & better, old["wins"] + 1, 0)
        losses = torch.where(counting & ~better, old["losses"] + 1, 0)
        patience = math.ceil(max(4, d) / q) if self.failures is None else self.failures
        longer, shorter = wins >= self.successes, losses >= patience
        length = torch.where(longer, (2 * old["length"]).clamp(max=self.longest), old["length"])
        length = torch.where(shorter, length / 2, length)
        over = length < self.shortest
        return {
            "first": torch.where(over, n, old["first"]),
            "length": torch.where(over, self.length, length),
            "wins": torch.where(longer | over, 0, wins),
            "losses": torch.where(shorter | over, 0, losses),
            "rows": n,
            "seeds": _renewed(old["seeds"], seed, over),
            "fit": old["fit"],
        }

    def _maxima(
        self,
        model: Any,
        lied_to: Any,
        data: StudyData,
        q: int,
        length: Tensor,
        seed: Seed,
    ) -> Float[Tensor, "*r q d"]:
        """The best of the region's candidates on each of q paths, none of them twice."""
        r, d = data.X.shape[:-2], data.X.shape[-1]
        streams = replicate_seeds(seed, r)
        count = max(q, min(100 * d, 5000)) if self.candidates is None else self.candidates
        if count < q:
            raise DataError(
                f"candidates: expected at least q = {q}, for no candidate is proposed twice, got "
                f"{count}; use more, or leave it out"
            )
        X = _trust_candidates(model, data, length, count, streams)
        own = [derive(s, "paths") for s in streams]
        paths = draw_paths(lied_to, q, seed=own if r else own[0], num_features=self.num_features)
        with torch.no_grad():
            values = _merit(paths(X), data.Y, data.observed)  # q *r count
        picked: list[Tensor] = []
        for value in values:
            for before in picked:
                value = value.scatter(-1, before, -torch.inf)
            picked.append(value.argmax(-1, keepdim=True))
        index = torch.cat(picked, dim=-1).unsqueeze(-1)  # *r q 1
        return X.gather(-2, index.expand(*r, q, d))


def _bent(data: StudyData) -> StudyData:
    """The data with limits by their bilogs and signs turned: feasible where >= 0."""
    if data.Y.shape[-1] == 1:
        return data
    check_one_objective(data, "turbo")
    Y = torch.where(data.observed.unsqueeze(-1), data.Y, 0.0)
    limits, _ = bilog(-Y[..., 1:], data.observed)  # the worst is the lowest, as for output 0
    return replace(data, Y=torch.cat([Y[..., :1], limits], dim=-1))


def _merit(
    y: Float[Tensor, "*s k m"], Y: Float[Tensor, "*r n m"], seen: Bool[Tensor, "*r n"]
) -> Float[Tensor, "*s k"]:
    """A number that orders outcomes: output 0 of feasible ones; others below, by violation.

    Units are the spreads of the seen data.
    """
    if y.shape[-1] == 1:
        return y[..., 0]
    unit = Standardize.fit(torch.where(seen.unsqueeze(-1), Y, 0.0), seen).scale  # *r 1 m
    violation = (-y[..., 1:]).clamp(min=0).div(unit[..., 1:]).sum(-1)
    lowest = y[..., 0].amin(-1, keepdim=True)
    below = lowest - unit[..., 0] * (1 + violation)
    return torch.where(violation > 0, below, y[..., 0])


def _centre(model: Any, data: StudyData) -> Float[Tensor, "*r d"]:
    """The evaluated point that is best by its posterior mean."""
    if data.Y.shape[-1] == 1:
        return best_evaluated(model, data).x
    with torch.no_grad():
        merit = _merit(model.posterior(data.X).mean, data.Y, data.observed)
    row = torch.where(data.observed, merit, -torch.inf).argmax(-1)
    index = row[..., None, None].expand(*row.shape, 1, data.X.shape[-1])
    return data.X.gather(-2, index).squeeze(-2)


def _renewed(old: Seed, new: Seed, over: Tensor) -> Seed:
    """The seeds of the replicates; new ones for those that start again."""
    if not over.any():
        return old
    pairs = zip(replicate_seeds(old, over.shape), replicate_seeds(new, over.shape), strict=True)
    mixed = [
        b if again else a for (a, b), again in zip(pairs, over.flatten().tolist(), strict=True)
    ]
    return tuple(mixed) if over.ndim else mixed[0]


def _continued(bounds: Tensor, drawn: Tensor, q: int, seed: Seed) -> Float[Tensor, "*r q d"]:
    """The next q points of a Sobol design of which each replicate has drawn some, ``*r``."""
    r = drawn.shape
    count, replicates = int(drawn.max()) + q, r[0] if r else None
    design = sobol_points(bounds, count, seed=seed, replicates=replicates)
    which = drawn[..., None, None] + torch.arange(q, device=drawn.device).unsqueeze(-1)
    return design.gather(-2, which.expand(*r, q, bounds.shape[-1]))


def _trust_candidates(
    model: Any, data: StudyData, length: Tensor, count: int, streams: list[int]
) -> Float[Tensor, "*r count d"]:
    """Points in the box of a given edge round the best point, stretched along the lengthscales."""
    bounds, r, d = data.bounds, data.X.shape[:-2], data.X.shape[-1]
    low, width = bounds[0], bounds[1] - bounds[0]
    centre = (_centre(model, data) - low) / width  # *r d
    weight = torch.ones_like(centre)
    known = getattr(model, "hyperparameters", None)
    scales = known().get("lengthscale") if callable(known) else None
    if scales is not None:
        weight = scales[..., 0, :].expand_as(centre)
        weight = weight / weight.log().mean(-1, keepdim=True).exp()
    half = 0.5 * weight * length.unsqueeze(-1)
    lower, upper = ((centre + s * half).clamp(0.0, 1.0).unsqueeze(-2) for s in (-1, 1))
    u = shifted_sobol([derive(s, "candidates") for s in streams], count, d, bounds.device)
    moved = lower + (upper - lower) * u.reshape(*r, count, d)
    # move 20 coordinates on average, and at least one: a step in all of many is a step too far
    v = uniform([derive(s, "coordinates") for s in streams], (count, d), bounds.device)
    v = v.reshape(*r, count, d)
    chosen = (v <= min(1.0, _MOVED / d)) | (v == v.amin(-1, keepdim=True))
    return low + width * torch.where(chosen, moved, centre.unsqueeze(-2))


turbo = TuRBO()
"""`TuRBO` with its defaults."""

scbo = TuRBO()
"""`TuRBO` where outputs after the first are limits (<= 0), by the name that it has then."""
