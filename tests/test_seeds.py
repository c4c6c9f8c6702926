"""Explicit seeds: reproducible, independent, batched over replicates, no global state."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import few
from scipy import stats

import bolearn as bl
from bolearn import seeds

names = st.lists(st.one_of(st.integers(0, 99), st.text(max_size=4)), max_size=3)


@few
@given(st.integers(0, 2**63 - 1), names, names)
def test_paths_of_names_give_their_own_seeds(seed: int, a: list, b: list) -> None:
    first, second = seeds.derive(seed, *a), seeds.derive(seed, *b)
    assert 0 <= first < 2**53
    assert (first == second) == (a == b)
    assert first == seeds.derive(seed, *a)


def test_derive_does_not_change_from_release_to_release() -> None:
    # Recorded once: stored results refer to seeds.
    assert seeds.derive(0, "fit", 1) == 4888598914271844
    assert seeds.uniform([0], (2,)).tolist() == [[0.6524484863740322, 0.7012121095215252]]
    assert seeds.derive(7, "a", "b") != seeds.derive(7, "ab")
    assert seeds.derive(7, 1) != seeds.derive(7, "1")


def test_an_int_seeds_replicates_and_a_sequence_is_taken_as_it_is() -> None:
    assert seeds.replicate_seeds(5, ()) == [5]
    assert seeds.replicate_seeds(5, (3,)) == [seeds.derive(5, i) for i in range(3)]
    assert seeds.replicate_seeds(5, (2, 2)) == seeds.replicate_seeds(5, (4,))
    assert seeds.replicate_seeds([8, 9], (2,)) == [8, 9]
    with pytest.raises(bl.DataError, match=r"expected 3 seeds .* got 2"):
        seeds.replicate_seeds([8, 9], (3,))


@few
@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=5, unique=True), st.integers(1, 9))
def test_streams_do_not_depend_on_their_neighbours(keys: list[int], count: int) -> None:
    together = seeds.uniform(keys, (count, 2))
    for i, key in enumerate(keys):
        assert torch.equal(together[i], seeds.uniform([key], (count, 2))[0])
    longer = seeds.uniform(keys, (count + 3, 2))
    assert torch.equal(longer[:, :count], together)


def test_uniforms_are_uniform_and_streams_uncorrelated() -> None:
    u = seeds.uniform(range(40), (2000,))
    assert bool((u > 0).all()) and bool((u < 1).all())
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 1e-4
    correlation = torch.corrcoef(u) - torch.eye(40, dtype=u.dtype)
    assert correlation.abs().max() < 5 / 2000**0.5
    lagged = torch.corrcoef(torch.stack([u.flatten()[:-1], u.flatten()[1:]]))[0, 1]
    assert abs(lagged.item()) < 4 / u.numel() ** 0.5


def test_normals_are_normal() -> None:
    z = seeds.normal(range(40), (2000,))
    assert torch.isfinite(z).all()
    assert stats.kstest(z.flatten().numpy(), "norm").pvalue > 1e-4


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None, "7", [1, -2], [0.5]])
def test_what_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(bl.DataError, match=r"seed: expected an int in \[0, 2\*\*63\)"):
        seeds.check_seed(seed)
