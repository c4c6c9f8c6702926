"""Figures of tutorial 4.1: what is drawn is what was asked for."""

import pytest
import torch
from matplotlib import pyplot

import bolearn as bl
from bolearn import plotting
from bolearn.errors import ShapeError


def model(d: int = 1) -> bl.ExactGP:
    X = torch.linspace(0, 1, 6, dtype=torch.float64).unsqueeze(-1).expand(6, d)
    box = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, d)
    return bl.ExactGP(X, (6 * X[:, :1]).sin(), box).with_hyperparameters(noise_var=0.3)


def test_the_band_of_a_reading_is_the_wider_one() -> None:
    figure = plotting.two_bands(model(), torch.sin, xlabel="x", ylabel="y")
    reading, f = (band.get_paths()[0].get_extents() for band in figure.axes[0].collections)
    assert reading.ymin < f.ymin and reading.ymax > f.ymax
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["95 % band of the next reading", "95 % band of f", "mean", "f", "data"]
    with pytest.raises(ShapeError, match="n 1"):
        plotting.two_bands(model(2), xlabel="x", ylabel="y")
    pyplot.close("all")


def test_reliability_draws_the_median_of_the_splits() -> None:
    z = torch.tensor([[0.1, 0.1], [0.1, 9.0], [9.0, 9.0]], dtype=torch.float64)
    figure = plotting.reliability({"a": z}, title="t")
    diagonal, line = figure.axes[0].lines
    assert list(diagonal.get_ydata()) == [0, 1]
    assert set(line.get_ydata()[3:]) == {0.5}  # shares 1, 0.5 and 0 in the three splits
    assert figure.axes[0].get_title() == "t"
    pyplot.close("all")


def test_residuals_beyond_the_axis_are_counted_at_its_ends() -> None:
    z = torch.tensor([-50.0, 0.0, 0.1, 50.0], dtype=torch.float64)
    figure = plotting.residual_histograms({"a": z})
    outline = figure.axes[0].patches[0].get_path().vertices
    assert outline[:, 0].min() == -6 and outline[:, 0].max() == 6
    pyplot.close("all")


def test_strips_show_every_split_and_the_mean() -> None:
    scores = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0, 6.0])}
    figure = plotting.score_strips(scores, xlabel="score", baseline="b")
    line, dots, mean, *_ = figure.axes[0].lines
    assert list(line.get_xdata()) == [5.0, 5.0]
    assert list(dots.get_xdata()) == [1.0, 3.0] and list(mean.get_xdata()) == [2.0, 2.0]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["a", "b"]
    pyplot.close("all")
