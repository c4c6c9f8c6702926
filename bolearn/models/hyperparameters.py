"""Hyperparameters by name: read from a model's parts, checked, written into parts of a new model.

A model never changes, so new hyperparameters need new gpytorch modules. `fresh_copy` makes them at
a small part of what ``copy.deepcopy`` costs: only what holds parameters is new; priors and
constraints, which nobody changes, are shared.

Taught in part_4/tutorial_01.
"""

import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.means import ConstantMean, Mean
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import DataError, ShapeError
from ..shapes import check_tensor

Number = float | np.floating[Any] | np.integer[Any]
"""A real number, whoever made it."""

_Module = TypeVar("_Module", bound=nn.Module)


class Slot(NamedTuple):
    """How to read and write a hyperparameter, and its gpytorch constraint (or None)."""

    read: Callable[[], Tensor]
    write: Callable[[Tensor], object]
    constraint: Any


def slots(
    kernel: Kernel, mean: Mean, likelihood: GaussianLikelihood | None, plain: bool
) -> dict[str, Slot]:
    """The hyperparameters of a Gaussian process by name; see `ExactGP.hyperparameters`.

    ``plain`` says whether the kernel is one with a closed form (`Stationary`).
    """
    found: dict[str, Slot] = {}
    if not plain:
        found |= _module_slots("kernel", kernel)
    else:
        base: Any = getattr(kernel, "base_kernel", kernel)
        found["lengthscale"] = Slot(
            lambda: base.lengthscale.squeeze(-2),
            lambda v: base._set_lengthscale(v.unsqueeze(-2)),
            base.raw_lengthscale_constraint,
        )
        if base is not kernel:
            found["outputscale"] = Slot(
                lambda: kernel.outputscale,
                lambda v: kernel._set_outputscale(v),
                kernel.raw_outputscale_constraint,
            )
    if type(mean) is ConstantMean:
        found["mean"] = Slot(
            lambda: mean.constant,
            lambda v: mean.initialize(constant=v),
            mean.constraint_for_parameter_name("raw_constant"),
        )
    else:
        found |= _module_slots("mean", mean)
    if likelihood is not None:
        noise = likelihood.noise_covar
        found["noise_var"] = Slot(
            lambda: noise.noise.squeeze(-1),
            lambda v: noise.initialize(noise=v.unsqueeze(-1)),
            noise.raw_noise_constraint,
        )
    return found


def _module_slots(path: str, module: nn.Module) -> dict[str, Slot]:
    """Read and write each parameter of a gpytorch module, by its path and constrained value."""
    found: dict[str, Slot] = {}
    for name, _, constraint in named_parameters(module):
        parent_path, _, leaf = name.rpartition(".")
        parent = module.get_submodule(parent_path)
        public = leaf.removeprefix("raw_")
        if not hasattr(parent, public):
            public = leaf

        def read(parent: nn.Module = parent, public: str = public) -> Tensor:
            return getattr(parent, public)  # type: ignore[no-any-return]

        def write(value: Tensor, parent: Any = parent, public: str = public) -> object:
            return parent.initialize(**{public: value})

        key = f"{path}.{parent_path + '.' if parent_path else ''}{public}"
        found[key] = Slot(read, write, constraint)
    return found


def named_parameters(module: nn.Module) -> list[tuple[str, nn.Parameter, Any]]:
    """Parameters, also frozen ones, with their gpytorch constraint, or None."""
    found = []
    for name, parameter in module.named_parameters():
        parent_path, _, leaf = name.rpartition(".")
        parent: Any = module.get_submodule(parent_path)
        constraint = (
            parent.constraint_for_parameter_name(leaf)
            if hasattr(parent, "constraint_for_parameter_name")
            else None
        )
        found.append((name, parameter, constraint))
    return found


def check_values(
    have: Mapping[str, Slot], values: Mapping[str, Any], like: Tensor
) -> dict[str, Tensor]:
    """Given hyperparameters in the shapes of those that they replace.

    Raises:
        DataError: an unknown name, a value that is not finite or outside its constraint.
        ShapeError: a value that does not broadcast.
    """
    checked = {}
    for name, value in values.items():
        if name not in have:
            raise DataError(f"hyperparameters: expected names among {sorted(have)}, got {name!r}")
        now, given = have[name].read(), as_tensor(name, value, like)
        if not torch.isfinite(given).all():
            raise DataError(f"{name}: expected finite numbers, got {given.flatten().tolist()}")
        try:
            given = given.detach().expand_as(now)
        except RuntimeError:
            raise ShapeError(
                f"{name}: expected shape {tuple(now.shape)}, got {tuple(given.shape)}"
            ) from None
        _check_constraint(name, given, have[name].constraint)
        checked[name] = given.clone()
    return checked


def _check_constraint(name: str, value: Tensor, constraint: Any) -> None:
    """Check a hyperparameter against its gpytorch constraint, up to rounding.

    Raises:
        DataError: it lies outside.
    """
    if constraint is None:
        return
    low, high = (x.to(value) for x in (constraint.lower_bound, constraint.upper_bound))
    if ((value < low * (1 - 1e-6)) | (value > high * (1 + 1e-6))).any():
        raise DataError(
            f"{name}: expected values from {low.min().item():g} to {high.max().item():g}, "
            f"got {value.flatten()[:4].tolist()}, outside its constraint; pass a kernel with "
            "another constraint"
        )


def within(constraint: Any, value: Tensor) -> Tensor:
    """A value moved into its gpytorch constraint, which rounding may have left.

    A constraint with a transform keeps it a hair inside: at an end the raw value is infinite.
    """
    if constraint is None:
        return value
    low, high = (x.to(value) for x in (constraint.lower_bound, constraint.upper_bound))
    if constraint.enforced:
        end = torch.where(torch.isfinite(low), low, high).abs()
        hair = 1e-10 * torch.where(torch.isfinite(high - low), high - low, end)
        low, high = low + hair, high - hair
    return torch.clamp(value, low, high)


def as_tensor(name: str, value: object, like: Tensor) -> Tensor:
    """A number or a float64 tensor as a tensor on the device of another.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, Tensor):
        return check_tensor(name, value, finite=False).to(like.device)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise DataError(
            f"{name}: expected a number or a float64 tensor, got {value!r}; "
            f"use torch.as_tensor({name}, dtype=torch.float64)"
        )
    return torch.tensor(float(value), dtype=like.dtype, device=like.device)


def known_noise(
    noise_var: object, full: tuple[int, ...], observed: Bool[Tensor, "*lead n"]
) -> Float[Tensor, "*lead n m"]:
    """Noise variances in squared user units, checked and expanded to ``full``: ``*lead n m``.

    Where ``observed`` is False they may be anything.

    Raises:
        DataError: not positive, or no numbers.
        ShapeError: they do not expand.
    """
    like = torch.empty(0, dtype=torch.float64, device=observed.device)
    value = as_tensor("noise_var", noise_var, like)
    try:
        value = value.detach().expand(full)
    except RuntimeError:
        raise ShapeError(
            f"noise_var: expected a number, m = {full[-1]} values or shape {full}, "
            f"got {tuple(value.shape)}"
        ) from None
    if not observed.all():
        value = torch.where(observed.unsqueeze(-1), value, 1.0)
    bad = ~(torch.isfinite(value) & (value > 0))
    if bad.any():
        raise DataError(
            "noise_var: expected positive variances in squared user units, got "
            f"{value[bad][:4].tolist()} for observed values; for noise-free data use a small "
            "one, for example 1e-6 times the variance of Y"
        )
    return value


# -- copies --------------------------------------------------------------------------------------


def fresh_copy(module: _Module) -> _Module:
    """The module with parameters of its own; parts without parameters are shared.

    Nothing of a model ever changes but parameters, and those only before anybody else has seen
    the model: so this is as good as a deep copy.
    """
    return _fresh(module, {})  # type: ignore[no-any-return]


def _fresh(module: Any, seen: dict[int, Any]) -> Any:
    """`fresh_copy`, with what is met twice copied once."""
    if id(module) in seen:
        return seen[id(module)]
    children = {
        name: None if child is None else _fresh(child, seen)
        for name, child in module._modules.items()
    }
    changed = any(child is not module._modules[name] for name, child in children.items())
    if not changed and not any(p is not None for p in module._parameters.values()):
        seen[id(module)] = module
        return module
    twin = seen[id(module)] = object.__new__(type(module))
    twin.__dict__.update(module.__dict__, _modules=children, _buffers=dict(module._buffers))
    twin.__dict__["_parameters"] = {
        name: None if own is None else _own(own, seen) for name, own in module._parameters.items()
    }
    return twin


def _own(parameter: nn.Parameter, seen: dict[int, Any]) -> nn.Parameter:
    """A parameter of the same value."""
    if id(parameter) not in seen:
        value = parameter.detach().clone()
        seen[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
    return seen[id(parameter)]  # type: ignore[no-any-return]
