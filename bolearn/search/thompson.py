"""Thompson sampling: believe one sample of the belief, and go where it is highest.

A point is chosen with the probability that it is the best one. q points are the maxima of q
independent functions: no acquisition, no pending points, and a batch that spreads by itself as far
as the belief is undecided.

Taught in part_5/tutorial_02.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .. import seeds
from ..acquisition.checks import check_single_output
from ..acquisition.objectives import Objective, check_objective, evaluate
from ..errors import ShapeError
from ..paths import draw_paths
from ..protocols import Paths, Surrogate, has_training_data
from ..sampling import Sampler
from ..shapes import check_bounds, check_count
from .choices import check_choices, check_either
from .constraints import InputConstraint
from .multi_start import optimize_acqf


@dataclass(frozen=True, eq=False)
class SampleMaxima:
    """Where q sampled functions are highest; unpacks as ``x, value``.

    Attributes:
        x: points ``*r q d`` in user units.
        value: the sampled functions' values there, ``*r q``.
    """

    x: Float[Tensor, "*r q d"]
    value: Float[Tensor, "*r q"]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.x, self.value))


def thompson(
    model: Surrogate,
    bounds: Float[Tensor, "*r 2 d"] | None = None,
    q: int = 1,
    *,
    choices: Float[Tensor, "*rr n d"] | None = None,
    objective: Objective | None = None,
    fixed: dict[int, float | Float[Tensor, "..."]] | None = None,
    input_constraints: Sequence[InputConstraint] = (),
    num_restarts: int = 8,
    raw_samples: int = 512,
    num_features: int = 1024,
    seed: seeds.Seed,
) -> SampleMaxima:
    """Thompson sampling: the maxima of q functions drawn from the belief, in a box or a finite set.

    In a box the functions are paths (`draw_paths`), climbed from many starts, all paths of all
    replicates at once. Among finitely many ``choices`` they are exact joint samples, for any model;
    no choice is taken twice in a replicate.

    Args:
        model: a surrogate; for a search in a box one that has paths.
        bounds: the search box, ``2 d`` or ``*r 2 d``.
        q: number of functions, and of points.
        choices: the points to choose from, ``n d`` or ``*r n d``, instead of bounds.
        objective: combines several outputs; needed if there are several.
        fixed, input_constraints: what points of a box have to meet, as in `optimize_acqf`.
        num_restarts, raw_samples: for each path, as in `optimize_acqf`.
        num_features: as in `draw_paths`.
        seed: an int, or one for each replicate.

    Returns:
        Points and sampled values.

    Raises:
        DataError: bounds and choices, or neither; fewer choices than q; bad counts or seed.
        ShapeError: bounds or choices that do not fit the model.
        UnsupportedError: several outputs and no objective; a kernel that has no paths.

    Example:
        >>> from bolearn import ExactGP
        >>> X = torch.tensor([[0.0], [0.4], [1.0]], dtype=torch.float64)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> x, value = thompson(ExactGP(X, X * (1 - X), box), box, q=4, seed=0)
        >>> x.shape, value.shape
        (torch.Size([4, 1]), torch.Size([4]))

    Source: Thompson, "On the likelihood that one unknown probability exceeds another in view of the
    evidence of two samples", Biometrika 25, 1933; with paths: Wilson et al., ICML 2020,
    arXiv:2002.09309.
    """
    q = check_count("q", q)
    if objective is None:
        check_single_output(model, "thompson without an objective")
    else:
        check_objective(objective, model)
    check_either(bounds, choices, fixed, input_constraints)
    r = tuple(model.batch_shape)
    if choices is not None:
        return _among(model, check_choices(choices, r, q), q, objective, seed)
    box = check_bounds(bounds)
    if tuple(box.shape[:-2]) not in ((), r):
        raise ShapeError(f"bounds: expected 2 d or {(*r, 2, 'd')}, got {tuple(box.shape)}")
    streams = seeds.replicate_seeds(seed, r)
    own = [seeds.derive(s, "paths") for s in streams]
    paths = draw_paths(model, q, seed=own if r else own[0], num_features=num_features)
    if box.ndim > 2:
        box = box.expand(q, *r, 2, box.shape[-1])
    own_values = {
        i: v.expand(q, *r) if isinstance(v, Tensor) and tuple(v.shape) == r else v
        for i, v in (fixed or {}).items()
    }
    found = optimize_acqf(
        _EachPath(paths, objective, _Seen.by(paths, model, objective)),
        box,
        num_restarts=num_restarts,
        raw_samples=raw_samples,
        fixed=own_values,
        input_constraints=input_constraints,
        batch_shape=(q, *r),  # every path is a problem of its own
        seed=[seeds.derive(s, "climb", i) for i in range(q) for s in streams],
    )
    return SampleMaxima(found.x.squeeze(-2).movedim(0, -2), found.value.movedim(0, -1))


def _among(
    model: Surrogate, X: Tensor, q: int, objective: Objective | None, seed: seeds.Seed
) -> SampleMaxima:
    """The best choice in each of q exact joint samples, those taken before left out."""
    r = tuple(model.batch_shape)
    with torch.no_grad():
        posterior = model.posterior(X.reshape(*(1,) * (len(r) + 2 - X.ndim), *X.shape))
        z = Sampler(q, seed, kind="iid").base_samples(posterior.event_shape, r, X.device)
        values = _scalar(posterior.rsample(z), objective)  # q *r n
    left, picked = torch.zeros_like(values[0]), []
    for value in values:
        best = (value + left).argmax(-1, keepdim=True)
        left = left.scatter(-1, best, -torch.inf)
        picked.append(best)
    index = torch.cat(picked, dim=-1)  # *r q
    X = X.expand(*r, *X.shape[-2:])
    x = X.gather(-2, index.unsqueeze(-1).expand(*index.shape, X.shape[-1]))
    return SampleMaxima(x, values.movedim(0, -2).gather(-1, index.unsqueeze(-1)).squeeze(-1))


def _scalar(y: Float[Tensor, "*b m"], objective: Objective | None) -> Float[Tensor, "*b"]:
    return y.squeeze(-1) if objective is None else evaluate(objective, y)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The data as each path sees them: where `optimize_acqf` looks for starts near the best."""

    X: Float[Tensor, "q *r n d"]
    Y: Float[Tensor, "q *r n 1"]
    observed: Tensor
    batch_shape: torch.Size

    @staticmethod
    def by(paths: Paths, model: Surrogate, objective: Objective | None) -> "_Seen | None":
        """None for a model that does not say where it was observed."""
        if not has_training_data(model):
            return None
        with torch.no_grad():
            Y = _scalar(paths(model.X), objective).unsqueeze(-1)
        X = model.X.expand(*Y.shape[:-1], model.X.shape[-1])
        return _Seen(X, Y, model.observed.expand(Y.shape[:-1]), Y.shape[:-2])


@dataclass(frozen=True, eq=False)
class _EachPath:
    """Paths as an acquisition whose replicates are the paths: ``b q *r 1 d -> b q *r``."""

    paths: Paths
    combination: Objective | None  # what `_Seen` holds is combined already
    model: _Seen | None

    def __call__(self, X: Float[Tensor, "b q *r 1 d"]) -> Float[Tensor, "b q *r"]:
        y = self.paths.at_each(X.movedim(1, 0))
        return _scalar(y, self.combination).squeeze(-1).movedim(0, 1)
