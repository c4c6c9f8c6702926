r"""Whole functions drawn from a Gaussian process: a sample that can be asked anywhere, cheaply.

A draw of f at q points costs a q x q factor, and asking it at one more point means drawing again.
Matheron's rule draws the function itself: take a function f0 from the prior, see by how much it
misses the data, and add the correction that the kernel carries to every other point,

    f(x) = c + f0(x) + k(x, X) K^-1 (y - c - f0(X) - noise).

f0 is a random sum of cosines and sines, F in all, with frequencies from the kernel's spectral
density. The correction is exact, so that the mean over paths is the posterior mean whatever F is;
only the variance between the data inherits the error of f0, about 1 / sqrt(F).

Taught in part_4/tutorial_02.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from jaxtyping import Float
from torch import Tensor

from . import seeds
from .errors import DataError, ShapeError, UnsupportedError
from .linalg import correlation, gram
from .models.algebra import Algebra, scaled_box
from .models.exact import ExactGP
from .protocols import Paths, SupportsPaths, Surrogate
from .sampling import shifted_sobol
from .shapes import check_count, check_points, check_same_device, check_tensor

_BLOCK = 1 << 18  # features computed at a time: 2 MB, which stay in the cache of a processor


@dataclass(frozen=True, eq=False)
class SpectralDensity:
    """How the frequencies of a stationary kernel are distributed, in units of 1 / lengthscale.

    RBF: standard normal. Matern of smoothness nu: multivariate t with 2 nu degrees of freedom,
    that is, a standard normal times sqrt(2 nu / chi^2).

    Source: Rasmussen & Williams, "Gaussian processes for machine learning", 2006, equation 4.15.
    """

    degrees: int  # of freedom, 2 nu; 0 for the RBF kernel
    lengthscale: Float[Tensor, "*b d"]
    outputscale: Float[Tensor, "*b"]

    @staticmethod
    def of(kernel: Kernel, d: int) -> "SpectralDensity":
        """The spectral density of a plain kernel.

        Raises:
            UnsupportedError: a kernel whose frequencies nobody has told us how to draw.
        """
        base, scale = kernel, None
        if type(kernel) is ScaleKernel and kernel.active_dims is None:
            base, scale = kernel.base_kernel, kernel.outputscale
        if base.active_dims is not None or type(base) not in (RBFKernel, MaternKernel):
            raise UnsupportedError(
                "draw_paths: expected an RBF or Matern kernel, alone or in a ScaleKernel, whose "
                f"spectral density is known, got {type(base).__name__}"
                + (" with active_dims" if base.active_dims is not None else "")
                + "; draw at finitely many points instead, model.posterior(X).rsample(z) or "
                "bolearn.thompson(model, choices=X, seed=0), or give the model a method draw_paths"
            )
        degrees = 0 if type(base) is RBFKernel else round(2 * base.nu)
        ell = base.lengthscale.detach().squeeze(-2)
        ell = ell.expand(*ell.shape[:-1], d)
        one = torch.ones_like(ell[..., 0])
        return SpectralDensity(degrees, ell, one if scale is None else one * scale.detach())

    def frequencies(self, streams: list[int], count: int) -> Float[Tensor, "b count d"]:
        """Frequencies of the kernel with lengthscale 1, a stream for each row.

        Quasi-random: at the same cost, sums over them are closer to the kernel than sums over
        independent draws (Yang et al. 2014, arXiv:1412.8293).
        """
        d = self.lengthscale.shape[-1]
        u = shifted_sobol(streams, count, d + self.degrees, self.lengthscale.device)
        z: Tensor = torch.special.ndtri(u)
        if not self.degrees:
            return z
        chi2 = z[..., d:].square().sum(-1, keepdim=True)
        return z[..., :d] * (self.degrees / chi2).sqrt()


@dataclass(frozen=True, eq=False)
class MatheronPaths:
    """s functions for each replicate, drawn by `draw_paths`; they do not change any more.

    Rows b are replicates x outputs. With A = W z for scaled inputs z = (x - centre) inverse, the
    value of path i at x is mean(x) + C_i . [cos A, sin A, k(x, X)]: all paths at shared points are
    one product.

    Attributes:
        model: the model that the paths were drawn from.
        algebra: its closed form, or None for other kernels than plain ones and other means.
        centre, inverse: what scales inputs, ``b 1 d``.
        W: frequencies ``b f d``, shared by the paths of a row.
        C: weights ``b s 2f+n`` of the cosines, the sines and the kernel values, in user units.
    """

    model: ExactGP
    algebra: Algebra | None
    centre: Tensor
    inverse: Tensor
    W: Tensor
    C: Tensor

    @property
    def num_paths(self) -> int:
        """s."""
        return self.C.shape[-2]

    @cached_property
    def waves(self) -> tuple[Tensor, Tensor]:
        """Amplitudes and phases ``b s 1 f``: a cosine and a sine of one frequency are one wave.

        C_cos cos A + C_sin sin A = amplitude cos(A - phase), which is half the work where every
        path has points of its own.
        """
        f = self.W.shape[-2]
        with torch.inference_mode(False):
            cos, sin = self.C[..., None, :f], self.C[..., None, f : 2 * f]
            return torch.hypot(cos, sin), torch.atan2(sin, cos)

    def __call__(self, X: Float[Tensor, "*batch q d"]) -> Float[Tensor, "s *out q m"]:
        """Every path at the same points, differentiable in them.

        Args:
            X: points in user units; the trailing axes of ``*batch`` are the replicates, each equal
                to the model's or 1.

        Returns:
            Values in user units, with the model's replicate axes.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: shapes that do not fit the model.
        """
        X = check_points(X, self.model.X.shape[-1], self.model.batch_shape)
        return self._at(X.unsqueeze(0))

    def at_each(self, X: Float[Tensor, "s *batch q d"]) -> Float[Tensor, "s *out q m"]:
        """Path i at its own points ``X[i]``, differentiable in them: for climbing every path.

        Args:
            X: points in user units, first axis the paths, otherwise as in a call.

        Raises:
            DataError: points that are not finite float64 numbers.
            ShapeError: not as many sets of points as paths, or shapes that do not fit the model.
        """
        s = self.num_paths
        r = tuple(self.model.batch_shape)
        check_tensor("X", X, finite=False)
        if X.ndim < 3 + len(r) or X.shape[0] != s:
            raise ShapeError(
                f"X: expected points of their own for each of {s} paths, shape "
                f"({s}, *batch, {''.join(f'{n}, ' for n in r)}q, d), got {tuple(X.shape)}; to ask "
                "the same points of every path, call paths(X)"
            )
        return self._at(check_points(X, self.model.X.shape[-1], r))

    def _at(self, X: Float[Tensor, "g *batch q d"]) -> Float[Tensor, "s *out q m"]:
        """Values at points in g groups: one for all paths (g = 1), or one for each (g = s)."""
        model = self.model
        check_same_device(X=X, model=model.X)
        r = model.batch_shape
        if r:
            X = X.expand(*X.shape[: X.ndim - 2 - len(r)], *r, *X.shape[-2:])
        if 0 in X.shape:
            return X.new_zeros(self.num_paths, *X.shape[1:-1], model.num_outputs)
        if self.algebra is None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and X.requires_grad):
                return self._unpack(paths_reference(self, X), X.shape[1:-1])
        shared = X.shape[0] == 1 and self.num_paths > 1
        return (_Shared if shared else _Each).apply(X, self)  # type: ignore[no-any-return, no-untyped-call]

    def _scaled(self, X: Float[Tensor, "g *batch q d"]) -> Float[Tensor, "b g p d"]:
        """Scaled inputs by rows; p counts the points of a row and group."""
        R, m, (q, d) = self.model.batch_shape.numel(), self.model.num_outputs, X.shape[-2:]
        rows = X.reshape(X.shape[0], -1, R, q, d).movedim(2, 0).reshape(R, X.shape[0], -1, d)
        rows = rows if m == 1 else rows.repeat_interleave(m, dim=0)
        return (rows - self.centre.unsqueeze(1)) * self.inverse.unsqueeze(1)

    def _to_points(self, slope: Float[Tensor, "b g p d"], X: Tensor) -> Tensor:
        """Gradients in scaled inputs -> gradients in user units, of the shape of X."""
        slope = slope * self.inverse.unsqueeze(1)
        R, m, (q, d) = self.model.batch_shape.numel(), self.model.num_outputs, X.shape[-2:]
        slope = slope.reshape(R, m, X.shape[0], -1, q, d)
        slope = slope.sum(1) if m > 1 else slope.squeeze(1)  # R g t q d
        return slope.movedim(0, 2).reshape(X.shape)

    def _unpack(self, v: Float[Tensor, "b s p"], batch: torch.Size) -> Tensor:
        """``b s p`` -> ``s *batch m`` with q the last axis of ``*batch``."""
        R, m, s = self.model.batch_shape.numel(), self.model.num_outputs, self.num_paths
        v = v.reshape(R, m, s, -1, batch[-1])  # R m s t q
        return v.permute(2, 3, 0, 4, 1).reshape(s, *batch, m)

    def _pack(self, g: Float[Tensor, "s *batch m"]) -> Float[Tensor, "b s p"]:
        """The way back."""
        R, (s, *_, q, m) = self.model.batch_shape.numel(), g.shape
        g = g.reshape(s, -1, R, q, m)
        return g.permute(2, 4, 0, 1, 3).reshape(R * m, s, -1)


def draw_paths(model: Surrogate, s: int, *, seed: seeds.Seed, num_features: int = 1024) -> Paths:
    """Draw s functions from a model's belief, for every replicate (Matheron's rule).

    Each replicate and output has its own stream: a replicate of a batch draws what it draws alone,
    and the first paths do not depend on how many follow. The s paths of one replicate share their
    frequencies: given these they are independent, and their common error has mean zero.

    Args:
        model: an `ExactGP` with a plain kernel, or a model with a method ``draw_paths``.
        s: how many paths for each replicate.
        seed: an int, or one for each replicate.
        num_features: F, cosines and sines of the prior functions; even. The covariance between
            points far from the data is off by about 1 / sqrt(F) of the prior variance.

    Returns:
        A function of points: ``paths(X)`` maps ``*batch q d`` to ``s *batch q m``, all paths at the
        same points; ``paths.at_each(X)`` maps ``s *batch q d`` to ``s *batch q m``, each path at
        its own.

    Raises:
        DataError: bad counts or seed.
        UnsupportedError: a kernel without a known spectral density; the message names ways out.

    Example:
        >>> X = torch.linspace(0, 1, 5, dtype=torch.float64).unsqueeze(-1)
        >>> box = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
        >>> paths = draw_paths(ExactGP(X, X.sin(), box), 8, seed=0)
        >>> paths(X).shape, paths.at_each(X.expand(8, 5, 1)).shape
        (torch.Size([8, 5, 1]), torch.Size([8, 5, 1]))

    Source: Wilson, Borovitskiy, Terenin, Mostowsky & Deisenroth, "Efficiently sampling functions
    from Gaussian process posteriors", ICML 2020, arXiv:2002.09309, equation 13; Rahimi & Recht,
    "Random features for large-scale kernel machines", NIPS 2007.
    """
    check_count("s", s)
    if check_count("num_features", num_features, least=2) % 2:
        raise DataError(
            f"num_features: expected an even number (a cosine and a sine for each frequency), "
            f"got {num_features}"
        )
    seed = seeds.check_seed(seed)
    if isinstance(model, SupportsPaths):
        return model.draw_paths(s, seed=seed, num_features=num_features)
    if not isinstance(model, ExactGP):
        raise UnsupportedError(
            f"draw_paths: expected an ExactGP or a model with a method draw_paths, got "
            f"{type(model).__name__}; draw at finitely many points instead: "
            "model.posterior(X).rsample(z)"
        )
    density = SpectralDensity.of(model.kernel, model.X.shape[-1])
    with torch.no_grad():
        return _matheron(model, density, s, seed, num_features // 2)


def _matheron(
    model: ExactGP, density: SpectralDensity, s: int, seed: seeds.Seed, f: int
) -> MatheronPaths:
    """The weights of cosines, sines and kernel values."""
    factor, (n, d) = model.factor(), model.X.shape[-2:]
    b, device = model.batch_shape.numel() * model.num_outputs, model.X.device
    each = seeds.replicate_seeds(seed, model.batch_shape)
    rows = [seeds.derive(x, "path", i) for x in each for i in range(model.num_outputs)]
    W = density.frequencies([seeds.derive(x, "frequencies") for x in rows], f)
    W = W.mT.contiguous().mT  # products with it sum over f: a third faster in this order of memory
    z = seeds.normal([seeds.derive(x, "weights") for x in rows], (s, 2 * f), device)
    streams = [seeds.derive(x, "noise") for x in rows]
    noise = seeds.normal_of_rows(streams, s, _mask(model), device=device).squeeze(-1)
    centre, width = scaled_box(model)
    ell = density.lengthscale.expand(*model.batch_shape, model.num_outputs, d)
    inverse = 1 / (width * ell.reshape(b, 1, d))
    amplitude = density.outputscale.expand(*model.batch_shape, model.num_outputs).reshape(b, 1, 1)
    # f0 at the data, standardised
    weights = z * (amplitude / f).sqrt()
    X = model.X.reshape(-1, n, d).repeat_interleave(model.num_outputs, dim=0)
    A = ((X - centre) * inverse) @ W.mT
    f0 = weights @ torch.cat([A.cos(), A.sin()], dim=-1).mT  # b s n
    variance = model.noise_variance().reshape(b, n)
    # what made K definite counts as noise, or the correction would overshoot
    diagonal = torch.where(_mask(model), variance + amplitude.squeeze(-1), 1.0)
    variance = variance + (factor.jitter * diagonal.mean(-1)).unsqueeze(-1)
    missed = f0 + noise * variance.sqrt().unsqueeze(-2)
    # v = s K^-1 (y - c - f0(X) - noise); the factor holds a = s K^-1 (y - c) and s L^-1
    scale = model.outcome.scale.reshape(b, 1, 1)
    correction = factor.weights.unsqueeze(-2) - (missed @ factor.inverse_t @ factor.inverse) / scale
    C = torch.cat([weights * scale, correction], dim=-1)
    return MatheronPaths(model, model.algebra(), centre, inverse, W, C)


def _mask(model: ExactGP) -> Tensor:
    """Observed rows ``b n``."""
    n, m = model.X.shape[-2], model.num_outputs
    return model.observed.reshape(-1, n).repeat_interleave(m, dim=0)


# -- evaluation: reference first, then the closed form -------------------------------------------


def paths_reference(
    paths: MatheronPaths, X: Float[Tensor, "g *batch q d"]
) -> Float[Tensor, "b s p"]:
    """Values for any kernel and mean, through autograd; the closed form's oracle."""
    model, (q, d) = paths.model, X.shape[-2:]
    r, m, b = model.batch_shape, model.num_outputs, len(paths.C)
    A = paths._scaled(X) @ paths.W.unsqueeze(1).mT  # b g p f
    # gpytorch wants its own batch axes (*r m) last among the batch axes
    points = model.cube.encode(X).reshape(-1, *r, 1, q, d).expand(-1, *r, m, q, d)
    K = gram(model.kernel, points, model.training_inputs()).expand(*points.shape[:-1], -1)
    mean = model.mean(points).expand(points.shape[:-1]).unsqueeze(-1)

    def by_rows(v: Tensor) -> Tensor:  # (g t) *r m q k -> b g (t q) k
        v = v.reshape(X.shape[0], -1, b, q, v.shape[-1])
        return v.movedim(2, 0).reshape(b, X.shape[0], -1, v.shape[-1])

    scale, shift = (v.reshape(b, 1, 1) for v in (model.outcome.scale, model.outcome.shift))
    features = torch.cat([A.cos(), A.sin(), by_rows(K)], dim=-1)
    values = torch.einsum("bgpf,bsf->bsgp", features, paths.C)
    values = values.squeeze(2) if X.shape[0] == 1 else values.diagonal(dim1=1, dim2=2).mT
    return by_rows(mean).squeeze(-1) * scale + shift + values


def _blocks(rows: int, columns: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of a ``rows columns`` table whose entries need ``size`` features each."""
    across = max(1, min(columns, _BLOCK // size))
    across = -(-columns // -(-columns // across))  # blocks of about the same size
    down = max(1, _BLOCK // (size * columns))
    for i in range(0, rows, down):
        for j in range(0, columns, across):
            yield slice(i, i + down), slice(j, j + across)


def _kernel(paths: MatheronPaths, Z: Float[Tensor, "b p d"], rows: slice) -> tuple[Tensor, Tensor]:
    """Kernel values to the data ``b p n``, and H, at scaled inputs."""
    a = paths.algebra
    assert a is not None
    squares = Z.square().sum(-1, keepdim=True) + a.z2[rows].unsqueeze(-2)
    r2 = torch.baddbmm(squares, Z, a.Z[rows].mT, alpha=-2).clamp_(min=0)
    k, h = correlation(a.kind, r2)
    if a.outputscale is None:
        return k, h
    return k * a.outputscale[rows], h * a.outputscale[rows]


def _slopes(paths: MatheronPaths, rows: slice, Z: Tensor, g_A: Tensor, g_k: Tensor) -> Tensor:
    """Gradient in scaled inputs: minus the sum over W of g_A, and over the data of g_k (z_j - z).

    g_A is minus the gradient in A = W z; g_k that in the kernel values, times their H.
    """
    assert paths.algebra is not None
    slope = torch.bmm(g_A, paths.W[rows]).baddbmm_(g_k, paths.algebra.Z[rows], beta=-1)
    return slope.sub_(g_k.sum(-1, keepdim=True) * Z)


def _features(
    paths: MatheronPaths, Z: Float[Tensor, "b p d"], rows: slice, room: list[Tensor]
) -> tuple[Tensor, Tensor]:
    """Cosines, sines and kernel values ``b p 2f+n``, and H ``b p n``, at scaled inputs.

    They are written into ``room``, made for the first block, which is the largest: fresh memory for
    every block would cost a tenth of the time.
    """
    f, (b, p) = paths.W.shape[-2], Z.shape[:-1]
    if not room:
        room[:] = Z.new_empty(b, p, f), Z.new_empty(b, p, paths.C.shape[-1])
    A, features = (v[:b, :p] for v in room)
    torch.bmm(Z, paths.W[rows].mT, out=A)
    torch.cos(A, out=features[..., :f])
    torch.sin(A, out=features[..., f : 2 * f])
    features[..., 2 * f :], h = _kernel(paths, Z, rows)
    return features, h


class _Shared(torch.autograd.Function):
    """All paths at the same points, ``1 *batch q d -> s *batch m``, with one analytic pullback."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, paths: MatheronPaths) -> Tensor:
        assert paths.algebra is not None
        Z = paths._scaled(X).squeeze(1)
        values = paths.algebra.constant.expand(len(Z), paths.num_paths, Z.shape[-2]).clone()
        pieces = [(slice(None), slice(None))]
        if not ctx.needs_input_grad[0]:
            pieces = list(_blocks(Z.shape[0], Z.shape[1], paths.C.shape[-1]))
        room: list[Tensor] = []
        for rows, points in pieces:
            features, h = _features(paths, Z[rows, points], rows, room)
            values[rows, :, points] += torch.bmm(paths.C[rows], features.mT)
        ctx.paths = paths
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(X, Z, features, h)
        return paths._unpack(values, X.shape[1:-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        X, Z, features, h = ctx.saved_tensors
        paths = ctx.paths
        given = paths._pack(grads[0])
        if torch.is_grad_enabled():  # a second derivative is wanted: differentiate the reference
            (slow,) = torch.autograd.grad(paths_reference(paths, X), X, given, create_graph=True)
            return slow, None
        f, g = paths.W.shape[-2], torch.bmm(given.mT, paths.C)  # b p 2f+n
        g_A = (g[..., :f] * features[..., f : 2 * f]).sub_(g[..., f : 2 * f] * features[..., :f])
        slope = _slopes(paths, slice(None), Z, g_A, g[..., 2 * f :] * h)
        return paths._to_points(slope.unsqueeze(1), X), None


class _Each(torch.autograd.Function):
    """Each path at its own points, ``s *batch q d -> s *batch m``; slopes found on the way."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, paths: MatheronPaths) -> Tensor:
        assert paths.algebra is not None
        constant, f = paths.algebra.constant, paths.W.shape[-2]
        amplitude, phase = paths.waves
        Z = paths._scaled(X)
        (b, s, p), wanted = Z.shape[:-1], ctx.needs_input_grad[0]
        values, slopes = Z.new_empty(b, s, p), torch.empty_like(Z) if wanted else None
        for rows, own in _blocks(b, s, p * paths.C.shape[-1]):
            z = Z[rows, own]  # b s p d
            flat, shape = z.flatten(1, 2), (*z.shape[:3], -1)
            wave, w_k = amplitude[rows, own], paths.C[rows, own, None, 2 * f :]
            A = torch.bmm(flat, paths.W[rows].mT).view(shape).sub_(phase[rows, own])
            k, h = (v.view(shape) for v in _kernel(paths, flat, rows))
            value = torch.linalg.vecdot(A.cos(), wave) + torch.linalg.vecdot(k, w_k)
            values[rows, own] = value.add_(constant[rows])
            if slopes is not None:
                g_A, g_k = A.sin_().mul_(wave).flatten(1, 2), h.mul(w_k).flatten(1, 2)
                slopes[rows, own] = _slopes(paths, rows, flat, g_A, g_k).view(z.shape)
        ctx.paths = paths
        ctx.save_for_backward(X, slopes)
        return paths._unpack(values, X.shape[1:-1])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        X, slopes = ctx.saved_tensors
        paths = ctx.paths
        given = paths._pack(grads[0])
        if torch.is_grad_enabled():
            (slow,) = torch.autograd.grad(paths_reference(paths, X), X, given, create_graph=True)
            return slow, None
        return paths._to_points(slopes * given.unsqueeze(-1), X), None
