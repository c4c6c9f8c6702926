"""The figures of tutorial 4.2: rounding errors, vanishing gradients, climbs, beliefs."""

import pytest
import torch

import bolearn as bl
from bolearn import plotting

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def test_error_panels_draw_each_formula_in_each_panel_and_lift_zeros():
    z = torch.linspace(-3, 0, 7)
    lines = {"a": torch.zeros(7), "b": torch.full((7,), 1e-3)}
    left, right = plotting.error_panels(z, {"value": lines, "slope": lines}, xlabel="z").axes
    for panel, title in ((left, "value"), (right, "slope")):
        assert panel.get_title() == title and panel.get_yscale() == "log"
        zero, some = (line.get_ydata() for line in panel.get_lines())
        assert list(zero) == pytest.approx([1e-17] * 7) and list(some) == pytest.approx([1e-3] * 7)


def test_shares_draw_the_median_of_the_runs():
    x = torch.tensor([5.0, 10.0])
    share = torch.tensor([[0.0, 0.5], [0.1, 0.6], [0.9, 0.7]], dtype=torch.float64)
    (panel,) = plotting.shares(x, {"lost": share}, xlabel="n", ylabel="share").axes
    assert list(panel.get_lines()[0].get_ydata()) == [0.1, 0.6]


def test_climb_maps_draw_starts_ends_and_what_is_flat():
    box = torch.tensor([[0.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    starts, ends = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    figure = plotting.climb_maps(
        lambda X: X.sum((-2, -1)),
        box,
        {"one": (starts, ends), "two": (starts, starts)},
        flat={"one": lambda X: X[:, 0] < 0.5},
        labels=("u", "v"),
        resolution=5,
    )
    left, right = figure.axes
    assert left.get_xlabel() == "u" and left.get_ylabel() == "v"
    assert len(left.collections) == len(right.collections) + 1  # the hatching
    for panel, end in ((left, ends), (right, starts)):
        drawn = panel.get_lines()
        assert len(drawn) == 3 + 2
        torch.testing.assert_close(torch.tensor(list(drawn[4].get_ydata())).double(), end[:, 1])


def test_beliefs_draw_one_panel_for_each_model():
    X = torch.tensor([[0.1], [0.9]], dtype=torch.float64)
    model = bl.ExactGP(X, X.square(), torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    x = torch.linspace(0, 1, 11, dtype=torch.float64)
    models, choices = {"a": model, "b": model}, {"a": X, "b": X[:1]}
    figure = plotting.beliefs(
        models, x, X=X, Y=model.Y, truth=x.square(), choices=choices, xlabel="x", ylabel="y"
    )
    left, right = figure.axes
    mean = torch.tensor(list(left.get_lines()[0].get_ydata()), dtype=torch.float64)
    torch.testing.assert_close(mean, model.posterior(x.view(-1, 1, 1)).mean.detach().flatten())
    assert len(left.get_lines()) == 3 + 2 and len(right.get_lines()) == 3 + 1
