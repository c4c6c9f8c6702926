"""Independent models, one after another in the output axis.

`ExactGP` models several outputs already, if all are observed at the same points and share a kind
of kernel. A list is for the other cases: an output that is measured at points of its own, or that
needs another kernel, another noise, or a model that is no Gaussian process.

Taught in part_5/tutorial_03.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..posteriors import GaussianPosterior, IndependentPosterior
from ..protocols import Posterior, SupportsConditioning, SupportsFantasies, Surrogate
from ..shapes import check_tensor
from .sealing import refuse_loading


class ModelList(nn.Module):
    """Several surrogates as one: all are asked at the same X, their outputs stand side by side.

    Args:
        models: surrogates with the same replicates; each with inputs, data and m of its own.
        fit_report: of the fits that made the models, if there are any.

    Raises:
        DataError: no model, or something that is not a surrogate.
        ShapeError: different replicate shapes.

    Example:
        >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> from bolearn import ExactGP
        >>> both = ModelList([ExactGP(X, X.sin(), box), ExactGP(X[:3], X[:3].cos(), box)])
        >>> both.posterior(X).mean.shape
        torch.Size([5, 2])
    """

    def __init__(self, models: Sequence[Any], *, fit_report: object = None) -> None:
        super().__init__()
        if not isinstance(models, Sequence | nn.ModuleList):
            raise DataError(
                f"models: expected a list of surrogates, got {type(models).__name__}; "
                "use ModelList([first, second])"
            )
        parts = list(models)
        if not parts:
            raise DataError("models: expected at least one surrogate, got none")
        for i, part in enumerate(parts):
            if not isinstance(part, Surrogate):
                raise DataError(
                    f"models: expected surrogates (num_outputs, batch_shape, posterior), "
                    f"got {type(part).__name__} at position {i}"
                )
        shapes = [tuple(part.batch_shape) for part in parts]
        if len(set(shapes)) > 1:
            raise ShapeError(
                f"models: expected the same replicate shape in all, got {shapes}; give each model "
                "data of all replicates, with observed= where some have none"
            )
        networks = all(isinstance(part, nn.Module) for part in parts)
        self.models: Any = nn.ModuleList(parts) if networks else parts
        self.fit_report: Any = fit_report

    @property
    def num_outputs(self) -> int:
        """m, the sum over the models."""
        return sum(part.num_outputs for part in self.models)

    @property
    def batch_shape(self) -> torch.Size:
        """The replicate shape ``*r``."""
        return torch.Size(self.models[0].batch_shape)

    @property
    def output_scale(self) -> Float[Tensor, "*r m"]:
        """Standard deviation by which each output was divided; only if every model has it."""
        return torch.cat([part.output_scale for part in self.models], dim=-1)

    @property
    def X(self) -> Float[Tensor, "*r n d"]:
        """Observed inputs; only if all models have the same ones, and the same rows observed."""
        return self._shared("X")

    @property
    def observed(self) -> Bool[Tensor, "*r n"]:
        """Which rows count; as for ``X``."""
        return self._shared("observed")

    @property
    def Y(self) -> Float[Tensor, "*r n m"]:
        """Observed values of all outputs; as for ``X``."""
        self._shared("Y")
        return torch.cat([part.Y for part in self.models], dim=-1)

    def _shared(self, name: str) -> Tensor:
        """What all models have in common.

        Raises:
            AttributeError: not all have it, or they were observed at different points.
        """
        first, *others = self.models
        for part in others:
            for own in ("X", "observed"):
                if not torch.equal(getattr(part, own), getattr(first, own)):
                    raise AttributeError(
                        f"the models of this list differ in {own}; ask each: "
                        f"[model.{name} for model in models]"
                    )
        return getattr(first, name)  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        """Reached too when a property has none to give: then its own error, which torch hides."""
        own = getattr(type(self), name, None)
        return own.__get__(self) if isinstance(own, property) else super().__getattr__(name)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "ModelList":
        """The models on another device, for ``models.to(...)``; these stay where they are."""
        moved = [p._apply(fn) if isinstance(p, nn.Module) else p for p in self.models]
        return ModelList(moved, fit_report=self.fit_report)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        """Refuse to be loaded into.

        Raises:
            UnsupportedError: always.
        """
        refuse_loading(self)

    def __len__(self) -> int:
        return len(self.models)

    def __iter__(self) -> Iterator[Surrogate]:
        return iter(self.models)

    def posterior(
        self, X: Float[Tensor, "*batch q d"], *, observation_noise: bool = False
    ) -> Posterior:
        """Joint belief about all outputs; outputs of different models are independent.

        Args:
            X: points in user units, as every model takes them.
            observation_noise: adds each model's noise.

        Returns:
            A `GaussianPosterior` if all parts are, else a posterior that draws from each part.

        Raises:
            ShapeError: shapes that do not fit a model.
        """
        parts = [part.posterior(X, observation_noise=observation_noise) for part in self.models]
        if len(parts) == 1:
            return parts[0]  # type: ignore[no-any-return]
        if all(isinstance(part, GaussianPosterior) for part in parts):
            return _gaussian(parts, getattr(self, "output_scale", None))
        return IndependentPosterior(parts)

    def condition(
        self, X: Float[Tensor, "*b p d"], Y: Float[Tensor, "*c p m"], **options: Any
    ) -> "ModelList":
        """Every model conditioned on its columns of Y at X (see `ExactGP.condition`).

        Raises:
            DataError: a model that cannot learn from new data without a new fit.
            ShapeError: Y has another number of outputs.
        """
        for part in self.models:
            if not isinstance(part, SupportsConditioning):
                raise DataError(
                    f"condition: {type(part).__name__} has no method condition; make that model "
                    "anew with all data, and a new ModelList"
                )
        check_tensor("Y", Y, finite=False)
        if Y.ndim < 2 or Y.shape[-1] != self.num_outputs:
            raise ShapeError(
                f"Y: expected {self.num_outputs} outputs in the last axis, got {tuple(Y.shape)}"
            )
        columns = Y.split([part.num_outputs for part in self.models], dim=-1)
        pairs = zip(self.models, columns, strict=True)
        return ModelList([part.condition(X, own, **options) for part, own in pairs])

    def fantasize(
        self, X: Float[Tensor, "*batch q d"], z: Float[Tensor, "s ..."], **options: Any
    ) -> "ModelList":
        """Every model with outcomes imagined at X from its columns of ``z: s *b q m``.

        Raises:
            DataError: a model that cannot imagine data, or z that is not finite float64.
            ShapeError: z has another number of outputs.
        """
        for part in self.models:
            if not isinstance(part, SupportsFantasies):
                raise DataError(
                    f"fantasize: {type(part).__name__} has no method fantasize; an ExactGP has one"
                )
        check_tensor("z", z)
        if z.ndim < 3 or z.shape[-1] != self.num_outputs:
            raise ShapeError(f"z: expected shape s *b q {self.num_outputs}, got {tuple(z.shape)}")
        columns = z.split([part.num_outputs for part in self.models], dim=-1)
        pairs = zip(self.models, columns, strict=True)
        return ModelList([part.fantasize(X, own, **options) for part, own in pairs])


def _gaussian(parts: list[GaussianPosterior], output_scale: Tensor | None) -> GaussianPosterior:
    """Gaussian beliefs about different outputs as one."""
    q, m = parts[0].event_shape[0], sum(part.event_shape[1] for part in parts)
    scale = None if output_scale is None else output_scale.square()
    shape = torch.Size((*parts[0].batch_shape, q, m))
    return GaussianPosterior(shape, partial(_marginal, parts), partial(_joint, parts), scale=scale)


def _marginal(parts: list[GaussianPosterior]) -> tuple[Tensor, Tensor]:
    means, variances = zip(*((part.mean, part.variance) for part in parts), strict=True)
    return torch.cat(means, dim=-1), torch.cat(variances, dim=-1)


def _joint(parts: list[GaussianPosterior]) -> tuple[Tensor, Tensor]:
    means, blocks = zip(*(part.joint_moments for part in parts), strict=True)
    return torch.cat(means, dim=-1), torch.cat(blocks, dim=-3)
