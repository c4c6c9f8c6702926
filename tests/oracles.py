"""Data sets, independent closed forms, and comparisons that assert."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

import bolearn as bl
from bolearn.seeds import derive, uniform

F64 = torch.float64
EPS = torch.finfo(F64).eps

# Reproducible and small: the same cases on every machine.
few = settings(
    derandomize=True,
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def T(*values: object) -> Tensor:
    """A float64 tensor."""
    return torch.tensor(values[0] if len(values) == 1 else values, dtype=F64)


def box(d: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    return T([[low] * d, [high] * d])


def draw(shape: Sequence[int], *names: int | str) -> Tensor:
    """Uniform numbers that depend on nothing but the names."""
    return uniform([derive(0, *names)], shape)[0]


def surface(X: Tensor, m: int = 1) -> Tensor:
    """A smooth function of X, different for each output: ``... n d`` -> ``... n m``."""
    weights = 1 + torch.arange(X.shape[-1], dtype=F64)
    outputs = [torch.sin((3 + k) * (X * weights).sum(-1)) + X[..., 0] * (k + 1) for k in range(m)]
    return torch.stack(outputs, dim=-1)


def dataset(
    n: int, d: int, m: int = 1, r: Sequence[int] = (), seed: int = 0, bounds: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """X, Y, bounds: a smooth function with a little noise."""
    U = draw((*r, n, d), "X", seed)
    Y = surface(U, m) + 0.05 * (draw((*r, n, m), "noise", seed) - 0.5)
    box_ = box(d) if bounds is None else bounds
    return box_[..., :1, :] + U * (box_[..., 1:, :] - box_[..., :1, :]), Y, box_


def hyperparameters(model: bl.ExactGP, seed: int = 0) -> dict[str, Tensor]:
    """Values of ordinary size, different in every replicate, output and input."""
    ranges = {"lengthscale": (0.2, 1.5), "noise_var": (0.001, 0.1), "mean": (-0.5, 0.5)}
    values = {}
    for name, value in model.hyperparameters().items():
        low, high = ranges.get(name, (0.5, 2.0))
        values[name] = low + (high - low) * draw(value.shape, name, seed)
    return values


def gp(
    n: int = 8, d: int = 2, m: int = 1, r: Sequence[int] = (), seed: int = 0, **options: object
) -> bl.ExactGP:
    """A model with hyperparameters of its own in every entry."""
    X, Y, bounds = dataset(n, d, m, r, seed)
    model = bl.ExactGP(X, Y, bounds, **options)
    return model.with_hyperparameters(**hyperparameters(model, seed))


def entry(model: bl.ExactGP, index: tuple[int, ...], output: int | None = None) -> bl.ExactGP:
    """One replicate (and output) of a model as a model of its own, masked rows left out."""
    rows = model.observed[index]
    X, Y = model.X[index][rows], model.Y[index][rows]
    Y = Y if output is None else Y[:, output : output + 1]
    bounds = model.bounds[index] if model.bounds.ndim > 2 else model.bounds
    alone = bl.ExactGP(X, Y, bounds, kernel=plain_like(model.kernel))
    own = {}
    for name, value in model.hyperparameters().items():
        v = value[index]
        own[name] = v if output is None else v[output : output + 1]
    return alone.with_hyperparameters(**own)


def plain_like(kernel: Kernel) -> Kernel | None:
    """A fresh kernel of the same kind as a plain one; None for the default."""
    scaled = isinstance(kernel, ScaleKernel)
    base = kernel.base_kernel if scaled else kernel
    ard = base.lengthscale.shape[-1]
    if isinstance(base, MaternKernel):
        fresh: Kernel = MaternKernel(nu=base.nu, ard_num_dims=ard)
    else:
        fresh = RBFKernel(ard_num_dims=ard)
    return ScaleKernel(fresh) if scaled else fresh


def correlation(kind: str, r: np.ndarray) -> np.ndarray:
    """Textbook kernels as functions of the scaled distance."""
    if kind == "rbf":
        return np.exp(-0.5 * r**2)
    if kind == "matern12":
        return np.exp(-r)
    if kind == "matern32":
        return (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)
    return (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)


def textbook_posterior(
    model: bl.ExactGP, X: Tensor, kind: str = "rbf"
) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Mean and covariance at ``q d``, log likelihood and condition number, by solving with K.

    For a model without replicates and with one output; written with NumPy from the definition.
    """
    values = {k: v.numpy() for k, v in model.hyperparameters().items()}
    low, high = model.bounds.numpy()
    rows = model.observed.numpy()
    A, B = ((x.numpy() - low) / (high - low) for x in (model.X[rows], X))
    y = model.Y[rows].numpy()[:, 0]
    std = y.std(ddof=1) if len(y) > 1 and y.std() > 0 else 1.0
    z = (y - y.mean()) / std
    c, outputscale = values["mean"][0], values.get("outputscale", np.ones(1))[0]

    def k(P: np.ndarray, Q: np.ndarray) -> np.ndarray:
        gaps = (P[:, None] - Q[None]) / values["lengthscale"][0]
        return outputscale * correlation(kind, np.sqrt((gaps**2).sum(-1)))

    K = k(A, A) + values["noise_var"][0] * np.eye(len(A))
    cross = k(B, A)
    mean = c + cross @ np.linalg.solve(K, z - c)
    covariance = k(B, B) - cross @ np.linalg.solve(K, cross.T)
    _, log_det = np.linalg.slogdet(K)
    fit = -0.5 * ((z - c) @ np.linalg.solve(K, z - c) + log_det + len(z) * np.log(2 * np.pi))
    return y.mean() + std * mean, std**2 * covariance, float(fit), float(np.linalg.cond(K))


def tolerance(condition: float = 1.0) -> float:
    """What rounding explains: 1e-8, or 50 ulps times the condition number."""
    return max(1e-8, 50 * EPS * condition)


def condition(model: bl.ExactGP) -> float:
    """Largest condition number of the model's covariance matrices, from the definition."""
    worst = 1.0
    for index in np.ndindex(*model.batch_shape):
        for i in range(model.num_outputs):
            alone = entry(model, index, i)
            worst = max(worst, textbook_posterior(alone, alone.X[:1])[3])
    return worst


def assert_close(a: object, b: object, tol: float = 1e-8, what: str = "") -> None:
    """Absolute or relative agreement to ``tol``; NaN agrees with nothing."""
    x, y = (v if isinstance(v, Tensor) else torch.tensor(np.array(v)) for v in (a, b))
    assert x.shape == y.shape, f"{what}: shapes {tuple(x.shape)} and {tuple(y.shape)}"
    x, y = x.detach().to(F64), y.detach().to(F64)
    error = (x - y).abs() / y.abs().clamp(min=1.0)
    worst = error.max().item() if error.numel() else 0.0
    assert bool((error <= tol).all()), f"{what}: differs by {worst:.3g}, tolerance {tol:.3g}"


def gradient(f: object, X: Tensor) -> Tensor:
    """Gradient of the sum of f(X)."""
    leaf = X.detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(f(leaf).sum(), leaf)
    return slope


@st.composite
def cases(draw_: st.DrawFn, max_m: int = 3, max_rank: int = 2, max_n: int = 60) -> dict:
    """Sizes and kind of a data set: plain, clustered, duplicated, constant outputs, one row."""
    return {
        "n": draw_(st.one_of(st.integers(1, 12), st.sampled_from([1, 2, max_n]))),
        "d": draw_(st.integers(1, 4)),
        "m": draw_(st.integers(1, max_m)),
        "r": tuple(draw_(st.lists(st.integers(1, 3), min_size=0, max_size=max_rank))),
        "q": draw_(st.integers(1, 4)),
        "kind": draw_(st.sampled_from(["plain", "clustered", "duplicated", "constant"])),
        "seed": draw_(st.integers(0, 10**6)),
    }


def build(case: dict, **options: object) -> bl.ExactGP:
    """The model of a case, with hyperparameters of its own."""
    n, d, m, r, seed = (case[k] for k in ("n", "d", "m", "r", "seed"))
    X, Y, bounds = dataset(n, d, m, r, seed)
    if case["kind"] == "clustered":
        X = X[..., :1, :] + 1e-4 * (X - 0.5)
        Y = surface(X, m)
    if case["kind"] == "duplicated":
        X = X[..., torch.arange(n) // 2, :]
    if case["kind"] == "constant":
        Y = torch.full_like(Y, 3.25)
    model = bl.ExactGP(X, Y, bounds, **options)
    return model.with_hyperparameters(**hyperparameters(model, seed))


def probes(case: dict, t: Sequence[int] = ()) -> Tensor:
    """Points ``*t *r q d`` for a case; some outside the bounds."""
    return 1.3 * draw((*t, *case["r"], case["q"], case["d"]), "probe", case["seed"]) - 0.15


class Broken(Kernel):
    """Never a number."""

    has_lengthscale = True

    def forward(self, x1, x2, diag=False, **params):  # type: ignore[no-untyped-def]
        K = torch.nan * self.lengthscale[..., 0:1] * (x1[..., :, None, 0] - x2[..., None, :, 0])
        return K.diagonal(dim1=-2, dim2=-1) if diag else K
