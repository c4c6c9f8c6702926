"""Maximise an acquisition over a space: discrete parts tried, real parts climbed, only legal codes.

Where there are at most 512 combinations of the discrete parameters, each is looked at with several
values of the real ones, and the best are climbed. Else Boltzmann starts climb, then go on in
rounds: all single discrete moves of all starts in one call, the best of each taken if it is better,
and climbed. All starts of all replicates are one batch throughout.

Taught in part_5/tutorial_03.
"""

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import seeds
from ..errors import InfeasibleError, OptimizationError
from ..optim import backends
from ..protocols import Acquisition, has_training_data
from ..sampling import shifted_sobol
from ..space.codes import between, columns_of, to_codes, to_positions
from ..space.lattice import Array
from ..transforms import UnitCube
from . import lagrangian
from .batches import UnitAcquisition, level_and_spread
from .constraints import InputConstraint, linear_constraint, nonlinear_constraint
from .moves import Moves, combinations, pool
from .region import Region
from .report import Candidates, SearchReport
from .space_arguments import SpaceSearch
from .starts import pick_starts

_ENUMERATED = 512  # combinations of discrete values, each tried with real ones
_LISTED = 8192  # the same where there are no real numbers
_PER_COMBINATION = 8
_NEAR = 96  # candidates close to the best observations
_NEAR_WIDTH = 0.1
_ROUNDS = 12  # of discrete moves
_SAME = 1e-9  # how close two codes are that count as one point


def best_in_space(acq: Any, search: SpaceSearch, q: int) -> Candidates:
    """The q best legal points, one after the other, each given those before.

    Raises:
        InfeasibleError: every legal point is excluded.
        OptimizationError: the acquisition is finite at no candidate.
    """
    chosen: list[Tensor] = []
    for i in range(q):
        given, own = acq, search
        if q > 1:
            own = search.with_(
                search.exclude, [seeds.derive(s, "point", i) for s in search.streams]
            )
        if chosen:
            before = torch.cat(chosen, dim=-2)
            given = acq.with_pending(before)
            taken = before.reshape(len(search.streams), i, search.space.d)
            known = [taken] if search.exclude is None else [search.exclude, taken]
            own = own.with_(torch.cat(known, dim=1), own.streams)
        found = _Mixed(given, own).best()
        chosen.append(found.x)
    return Candidates(torch.cat(chosen, dim=-2), found.value, found.report)


class _Mixed:
    """One search for one point in every replicate; positions are ``R t p``."""

    def __init__(self, acq: Acquisition, search: SpaceSearch) -> None:
        self.search, self.space, self.lattice = search, search.space, search.lattice
        model: Any = getattr(acq, "model", None)
        self.model = model if has_training_data(model) else None
        device = self.model.X.device if self.model is not None else torch.device("cpu")
        self.bounds = self.space.bounds.to(device)
        self.on_cube = UnitAcquisition(acq, UnitCube(self.bounds), 1, search.r)
        self.R, self.p = len(search.streams), len(self.space)
        moving = ~self.lattice.discrete & (self.lattice.lower < self.lattice.upper)
        self.real: list[int] = np.flatnonzero(moving).tolist()
        columns = columns_of(self.space.parameters)
        self.real_columns = [columns[k][0] for k in self.real]
        self.evaluations = self.climbs = 0
        self.messages: dict[str, int] = {}

    def codes(self, z: Array) -> Tensor:
        """Positions ``R t p`` as codes ``R t d``."""
        flat = to_codes(self.space.parameters, z.reshape(-1, self.p))
        return torch.from_numpy(flat).reshape(*z.shape[:2], self.space.d).to(self.bounds.device)

    def values(self, z: Array) -> Tensor:
        """The acquisition at legal positions, -inf at excluded points and where it is NaN."""
        codes = self.codes(z)
        found = self.on_cube.values(codes)
        self.evaluations += 1
        seen = self.search.exclude
        if seen is not None and seen.shape[1]:
            for part in range(0, codes.shape[1], 256):
                near = torch.cdist(codes[:, part : part + 256], seen, p=torch.inf) <= _SAME
                found[:, part : part + 256][near.any(-1)] = -torch.inf
        return found.nan_to_num(-torch.inf, torch.inf, -torch.inf)

    def best(self) -> Candidates:
        """The best legal point of every replicate."""
        most = _ENUMERATED if self.real else _LISTED
        every = combinations(self.lattice, most)
        if every is not None and not self.real and len(every):
            z = self._completed(every)
            top = self.values(z).topk(min(self.search.num_restarts, len(every)), dim=1)
            value = raw = top.values
            end = starts = np.take_along_axis(z, top.indices.cpu().numpy()[..., None], axis=1)
        else:
            found = None if every is None else self._from_combinations(every)
            starts, raw, level = found or self._from_candidates()
            end, value = self.climbed(starts, raw, level)
            if every is None and found is None:
                end, value = self._moved(end, value, level)
        return self._report(starts, raw, end, value)

    # ---------------------------------------------------------------- starts

    def _completed(self, every: Array) -> Array:
        """Combinations without real numbers, for all replicates, ``R c p``."""
        z = np.tile(self.lattice.lower, (len(every), 1))
        z[:, self.lattice.discrete] = every
        return np.broadcast_to(z, (self.R, *z.shape))

    def _from_combinations(self, every: Array) -> tuple[Array, Tensor, Tensor] | None:
        """Starts: the best combinations, each at its best candidate, and the best candidates."""
        lattice, c = self.lattice, len(every)
        per = max(_PER_COMBINATION, self.search.raw_samples // max(c, 1))
        z = self._random(c * per)
        z[:, :, lattice.discrete] = np.repeat(every, per, axis=0)
        good = np.ones(z.shape[:2], dtype=bool)
        if len(lattice.A):
            flat = lattice.moved(z.reshape(-1, self.p), ~lattice.discrete)
            z, good = flat.reshape(z.shape), lattice.feasible(flat).reshape(z.shape[:2])
            if not good.any(1).all():
                return None
            first = z[np.arange(self.R), good.argmax(1)][:, None]
            z = np.where(good[..., None], z, first)
        near = self._near()
        z = np.concatenate([z, near], axis=1)
        values = self.values(z)
        values[:, : c * per][torch.from_numpy(~good)] = -torch.inf
        top = values[:, : c * per].view(self.R, c, per).max(-1)
        few = min(self.search.num_restarts, c)
        which = top.values.topk(few, dim=1).indices
        index = which * per + top.indices.gather(1, which)
        more = values.topk(min(self.search.num_restarts // 2 + 1, values.shape[1]), dim=1).indices
        index = torch.cat([index, more], dim=1)
        chosen = np.take_along_axis(z, index.cpu().numpy()[..., None], axis=1)
        return chosen, values.gather(1, index), values

    def _from_candidates(self) -> tuple[Array, Tensor, Tensor]:
        """Boltzmann starts among random candidates and some near the best observations.

        Raises:
            InfeasibleError: every candidate is excluded.
        """
        z = np.concatenate([self._candidates(), self._near()], axis=1)
        values = self.values(z)
        if not torch.isfinite(values).any(1).all():
            raise self._nothing()
        index = pick_starts(values, self.search.num_restarts, self.search.streams)
        chosen = np.take_along_axis(z, index.cpu().numpy()[..., None], axis=1)
        return chosen, values.gather(1, index), values

    def _nothing(self) -> InfeasibleError | OptimizationError:
        if self.search.exclude is not None:
            return InfeasibleError(
                "exclude: expected legal points that are left, got none: all that was looked at "
                "is excluded; widen the space, or exclude fewer points"
            )
        return OptimizationError(
            "the acquisition is not finite at any legal candidate; look at the model's posterior "
            "there, or at best_f"
        )

    def _random(self, count: int) -> Array:
        """Random positions within the limits, constraints apart, ``R count p``."""
        streams = [seeds.derive(s, "raw") for s in self.search.streams]
        u = shifted_sobol(streams, count, self.p).numpy().reshape(-1, self.p)
        z = [between(p, u[:, k]) for k, p in enumerate(self.space.parameters)]
        return self.lattice.snapped(np.stack(z, axis=-1)).reshape(self.R, count, self.p)

    def _candidates(self) -> Array:
        """Random legal positions, ``R raw p``."""
        count = self.search.raw_samples
        if not len(self.lattice.A):
            return self._random(count)
        points = pool(self.space, self.search.fixed)
        streams = [seeds.derive(s, "pool") for s in self.search.streams]
        u = seeds.uniform(streams, (len(points),)).numpy()
        return points[u.argsort(-1)[:, :count]]

    def _near(self) -> Array:
        """Legal points near the best observations, ``R near p``: discrete parts often the same."""
        model, lattice = self.model, self.lattice
        if model is None:
            return np.zeros((self.R, 0, self.p))
        r, (n, d) = self.search.r, model.X.shape[-2:]
        level = torch.where(model.observed, model.Y[..., 0], -torch.inf).expand(*r, n)
        top = level.reshape(self.R, n).topk(min(4, n), dim=1).indices.cpu()
        seen = model.X.expand(*r, n, d).reshape(self.R, n, d).cpu()
        best = seen.gather(1, top[..., None].expand(-1, -1, d)).clamp(0, 1)
        best_z = to_positions(self.space.parameters, best.reshape(-1, d).numpy())
        z = best_z.reshape(self.R, -1, self.p)
        z = z[:, np.arange(_NEAR) % z.shape[1]]
        streams = [seeds.derive(s, "near") for s in self.search.streams]
        u = seeds.uniform(streams, (_NEAR, self.p + 1))
        normal = torch.special.ndtri(u[..., : self.p]).numpy() * _NEAR_WIDTH
        moved = to_codes(self.space.parameters, z.reshape(-1, self.p)).reshape(self.R, _NEAR, d)
        for k, column in zip(self.real, self.real_columns, strict=True):
            moved[..., column] = np.clip(moved[..., column] + normal[..., k], 0, 1)
        z = to_positions(self.space.parameters, moved.reshape(-1, d)).reshape(z.shape)
        free = np.flatnonzero(lattice.discrete & (lattice.lower < lattice.upper))
        if len(free):  # half of them also move one discrete position
            which = (u[..., -1].numpy() * 2 * len(free)).astype(int)
            other = self._random(_NEAR)
            for place, k in enumerate(free.tolist()):
                z[..., k] = np.where(which == place, other[..., k], z[..., k])
        return lattice.legal(z.reshape(-1, self.p)).reshape(z.shape)

    # ---------------------------------------------------------------- climbs

    def climbed(self, z: Array, value: Tensor, raw: Tensor) -> tuple[Array, Tensor]:
        """Points with their real parts climbed, and values ``R t``; never worse than before."""
        if not self.real:
            return z, value
        t, d = z.shape[1], self.space.d
        x0 = self.codes(z).transpose(0, 1).reshape(t * self.R, d).contiguous()
        low, high = x0.clone(), x0.clone()
        for part, ends in zip((low, high), self._limits(z), strict=True):
            part[:, self.real_columns] = torch.from_numpy(ends).to(x0)
        low, high = torch.minimum(low, x0), torch.maximum(high, x0)
        level, wide = level_and_spread(torch.where(raw > -torch.inf, raw, torch.nan))
        size = wide.clamp(max=1)
        objective = self.on_cube.objective(level, size)
        own = torch.arange(self.R, device=x0.device).repeat(t)
        if not self._constraints:
            end = backends.minimize(objective, x0, low, high, rivals=own)
        else:
            region = Region(self._constraints, self.on_cube.cube, low, high)
            rows = torch.arange(len(x0), device=x0.device)
            rest = (wide / size).repeat(t)
            end, _ = lagrangian.minimize(region, objective, x0, low, high, rows, rest)
        self.evaluations += end.evaluations
        self.climbs += 1
        codes = end.x.view(t, self.R, d).transpose(0, 1).reshape(-1, d).cpu().numpy()
        there = z.copy()
        reached = to_positions(self.space.parameters, codes).reshape(z.shape)
        there[..., self.real] = reached[..., self.real]
        there = np.clip(there, self.lattice.lower, self.lattice.upper)
        good = np.asarray(np.isfinite(there).all(-1))
        there = np.where(good[..., None], there, z)
        if len(self.lattice.A):
            flat = self.lattice.moved(there.reshape(-1, self.p), ~self.lattice.discrete)
            good = self.lattice.feasible(flat).reshape(good.shape)
            there = np.where(good[..., None], flat.reshape(z.shape), z)
        new = self.values(there)
        better = new > value
        kept = np.where(better.unsqueeze(-1).cpu().numpy(), there, z)
        return kept, torch.where(better, new, value)

    def _limits(self, z: Array) -> tuple[Array, Array]:
        """Limits of the real columns, ``t R`` rows: those of rows with one real number are known.

        Where all other parameters of a constraint stay as they are, it is a limit of that one.
        """
        lattice = self.lattice
        flat = z.swapaxes(0, 1).reshape(-1, self.p)
        low, high = (np.tile(side, (len(flat), 1)) for side in (lattice.lower, lattice.upper))
        for a, least, most in zip(lattice.A, lattice.low, lattice.high, strict=True):
            moving = [k for k in self.real if a[k] != 0]
            if len(moving) == 1:
                (k,) = moving
                rest = flat @ a - flat[:, k] * a[k]
                ends = np.sort(np.stack([(least - rest) / a[k], (most - rest) / a[k]]), axis=0)
                low[:, k], high[:, k] = (
                    np.maximum(low[:, k], ends[0]),
                    np.minimum(high[:, k], ends[1]),
                )
        sides = []
        for side in (low, high):
            side = np.clip(side, lattice.lower, lattice.upper)
            codes = to_codes(self.space.parameters, side)
            sides.append(codes[:, self.real_columns])
        return sides[0], sides[1]

    @cached_property
    def _constraints(self) -> tuple[InputConstraint, ...]:
        """The rows in which several real numbers move, as constraints on codes."""
        found: list[InputConstraint] = []
        for a, low, high in zip(self.lattice.A, self.lattice.low, self.lattice.high, strict=True):
            if (a[self.real] != 0).sum() < 2:
                continue
            bent = [k for k in np.flatnonzero(a) if getattr(self.space.parameters[k], "log", False)]
            found += self._bent(a, low, high) if bent else [self._straight(a, low, high)]
        return tuple(found)

    def _straight(self, a: Array, low: float, high: float) -> InputConstraint:
        """A row without logarithmic axes."""
        used = np.flatnonzero(a).tolist()
        columns = columns_of(self.space.parameters)
        ends = to_positions(self.space.parameters, self.space.bounds.numpy())
        rate = [float(a[k] * (ends[1, k] - ends[0, k])) for k in used]
        start = float(sum(a[k] * ends[0, k] for k in used))
        return linear_constraint(
            [columns[k][0] for k in used],
            rate,
            at_least=low - start if np.isfinite(low) else None,
            at_most=high - start if np.isfinite(high) else None,
        )

    def _bent(self, a: Array, low: float, high: float) -> list[InputConstraint]:
        """A row with logarithmic axes; an equality as two inequalities."""
        space, size = self.space, float(np.abs(a) @ np.maximum(self.lattice.width, 1e-300))

        def total(X: Tensor) -> Tensor:
            sum_ = X.new_zeros(X.shape[:-1])
            for k in np.flatnonzero(a).tolist():
                p: Any = space.parameters[k]
                u = X[..., space.columns[p.name][0]]
                ratio = float(p.high / p.low) if p.log else 1.0
                x = p.low * ratio**u if p.log else p.low + u * (p.high - p.low)
                position = x if p.step is None else (x - p.low) / p.step
                sum_ = sum_ + float(a[k]) * position
            return sum_

        found: list[InputConstraint] = []
        if np.isfinite(high):
            found.append(nonlinear_constraint(lambda X: (total(X) - high) / size))
        if np.isfinite(low):
            found.append(nonlinear_constraint(lambda X: (low - total(X)) / size))
        return found

    def _moved(self, z: Array, value: Tensor, raw: Tensor) -> tuple[Array, Tensor]:
        """Rounds of discrete moves and climbs, until no start gets better."""
        moves, R, t = Moves(self.space, self.lattice), self.R, z.shape[1]
        for _ in range(_ROUNDS if moves.count else 0):
            there, good = moves(z.reshape(-1, self.p))
            near = self.values(there.reshape(R, t * moves.count, self.p)).view(R, t, moves.count)
            near = near.masked_fill(
                torch.from_numpy(~good).view(R, t, -1).to(near.device), -torch.inf
            )
            best = near.max(-1)
            gain = best.values > value + 1e-9 * value.abs().nan_to_num(0.0, 0.0, 0.0).clamp(min=1)
            if not gain.any():
                break
            index = best.indices.cpu().numpy()[..., None, None]
            new = np.take_along_axis(there.reshape(R, t, moves.count, self.p), index, 2)[:, :, 0]
            up = gain.unsqueeze(-1).cpu().numpy()
            z, value = np.where(up, new, z), torch.where(gain, best.values, value)
            z, value = self.climbed(z, value, raw)
        return z, value

    # ---------------------------------------------------------------- what comes out

    def _report(self, starts: Array, raw: Tensor, end: Array, value: Tensor) -> Candidates:
        """The best ends, which are legal."""
        if not (value > -torch.inf).any(1).all():
            raise self._nothing()
        best = value.argmax(1)
        z = end[np.arange(self.R), best.cpu().numpy()]
        x = self.codes(z[:, None]).reshape(*self.search.r, 1, self.space.d)
        t, r = value.shape[1], self.search.r
        values = value.T.reshape(t, *r)
        report = SearchReport(
            start_values=raw.T.reshape(t, *r),
            values=values,
            converged=torch.ones_like(values, dtype=torch.bool),
            iterations=torch.zeros_like(values, dtype=torch.long),
            violation=torch.zeros_like(values),
            evaluations=self.evaluations,
            messages={"legal points compared": values.numel()},
            halvings=self.on_cube.halvings,
        )
        return Candidates(x, value.gather(1, best.unsqueeze(1)).view(r), report)
