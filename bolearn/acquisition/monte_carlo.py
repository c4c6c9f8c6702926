r"""Acquisitions as averages over joint samples: any utility, any q, any objective.

With fixed standard normals z, f = mean(X) + L(X) z is a smooth function of the candidates, and so
is the average of a utility over the samples: it can be maximised by the same deterministic method
as a closed form (sample average approximation).

A new acquisition of the improvement family is a subclass of `LogMonteCarloAcquisition` with a
`utility` of one line.

Taught in part_4/tutorial_02 and part_5/tutorial_02.
"""

from dataclasses import KW_ONLY, dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..numerics import fatmax, log_fatplus, logmeanexp
from ..protocols import Surrogate
from ..sampling import Sampler
from ..seeds import Seed
from ..shapes import check_points, check_same_device
from .analytic import check_level
from .objectives import Objective, output


@lru_cache(maxsize=64)
def _normals(
    num_samples: int, seed: Seed, kind: str, event: tuple[int, ...], replicates: tuple[int, ...]
) -> Tensor:
    return Sampler(num_samples, seed, kind).base_samples(event, replicates)


@dataclass(frozen=True, eq=False)
class LogMonteCarloAcquisition:
    """log E_f[ max_j u(f(x_j)) ], estimated with s fixed base samples; u >= 0 in log space.

    Args:
        model: a surrogate.
        sampler: where the base samples come from; independent for each replicate.
        objective: outcome to scalar; default the first output.
        X_pending: points under evaluation ``*r p d``, judged jointly with every candidate.

    Subclasses give `utility`. The maximum over q is smoothed so that every point keeps a gradient.
    """

    # The model comes first and positionally everywhere, then what a subclass cannot do without
    # (best_f); the rest by name.
    model: Surrogate
    _: KW_ONLY
    sampler: Sampler = Sampler(128, seed=0)  # noqa: RUF009  frozen, hence safe to share
    objective: Objective = output(0)  # noqa: RUF009
    X_pending: Tensor | None = None

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """Log utility of each sampled objective value."""
        raise NotImplementedError(f"{type(self).__name__} needs a method utility(y) -> log utility")

    def draw(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "s *batch q m"]:
        """Joint samples of the outcomes at X."""
        posterior = self.model.posterior(X)
        sampler = self.sampler
        seed = sampler.seed if isinstance(sampler.seed, int) else tuple(sampler.seed)
        z = _normals(
            sampler.num_samples,
            seed,
            sampler.kind,
            tuple(posterior.event_shape),
            tuple(self.model.batch_shape),
        )
        return posterior.rsample(z.to(X.device))

    def __call__(self, X: Float[Tensor, "*#batch q d"]) -> Float[Tensor, "*batch"]:
        """The acquisition value of each set of q points, in log units of the utility."""
        replicates = tuple(self.model.batch_shape)
        y = self.objective(self.draw(join_pending(X, self.X_pending, replicates)))
        return logmeanexp(fatmax(self.utility(y), dim=-1), dim=0)

    def with_pending(self, X: Float[Tensor, "*r p d"]) -> "LogMonteCarloAcquisition":
        """The same acquisition that counts X as already chosen, beside earlier pending points."""
        replicates = tuple(self.model.batch_shape)
        check_points(X, X.shape[-1] if X.ndim else 0, replicates, name="X_pending")
        return replace(self, X_pending=join_pending(X, self.X_pending, replicates))


@dataclass(frozen=True, eq=False)
class qLogExpectedImprovement(LogMonteCarloAcquisition):
    """log E max_j max(0, f(x_j) - best_f): expected improvement of the best of q points.

    The kink of max(0, .) is smoothed on the scale of 1e-6 output standard deviations, so that the
    result does not depend on the units of Y.

    Args:
        model: a surrogate.
        best_f: value of the objective to improve on; a number or one for each replicate.
        sampler: where the base samples come from.
        objective: outcome to scalar; default the first output.
        X_pending: points under evaluation ``*r p d``.

    Raises:
        DataError: best_f is not finite.
        ShapeError: best_f does not fit the replicates.

    Source: Ament et al. 2023, section 4.2, arXiv:2310.20708; Balandat et al., "BoTorch: a
    framework for efficient Monte-Carlo Bayesian optimization", NeurIPS 2020, arXiv:1910.06403.
    """

    best_f: float | Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "best_f", check_level("best_f", self.best_f, self.model))

    def utility(self, y: Float[Tensor, "s *batch q"]) -> Float[Tensor, "s *batch q"]:
        """log max(0, y - best_f), smoothed in units of the objective's scale."""
        assert isinstance(self.best_f, Tensor)
        scale = objective_scale(self.model, self.objective).to(y.device).unsqueeze(-1)
        best = self.best_f.unsqueeze(-1) if self.best_f.ndim else self.best_f
        return log_fatplus((y - best) / scale) + scale.log()


def objective_scale(model: Surrogate, objective: Objective) -> Float[Tensor, "*r"]:
    """Unit in which an objective's differences are small or large: its output scale, else 1.

    Known for objectives with a ``scale`` method and models with an ``output_scale``.
    """
    output_scale = getattr(model, "output_scale", None)
    scale = getattr(objective, "scale", None)
    if output_scale is None or scale is None:
        return torch.ones(model.batch_shape, dtype=torch.float64)
    return scale(output_scale)  # type: ignore[no-any-return]


def join_pending(
    X: Float[Tensor, "*batch q d"],
    pending: Float[Tensor, "*r p d"] | None,
    replicates: tuple[int, ...] = (),
) -> Float[Tensor, "*out qp d"]:
    """Candidates followed by the pending points, which are shared by all leading batch axes.

    Raises:
        ShapeError: pending points with another number of inputs or that do not broadcast.
    """
    if pending is None:
        return X
    check_points(pending, X.shape[-1], replicates, name="X_pending")
    check_same_device(X=X, X_pending=pending)
    try:
        batch = torch.broadcast_shapes(X.shape[:-2], pending.shape[:-2])
    except RuntimeError:
        raise ShapeError(
            f"X_pending: expected shape *r p d that fits candidates {tuple(X.shape)}, "
            f"got {tuple(pending.shape)}"
        ) from None
    parts = (points.expand(*batch, *points.shape[-2:]) for points in (X, pending))
    return torch.cat(list(parts), dim=-2)
