"""Figures of tutorial 4.4: what is drawn is what was asked for."""

import pytest
import torch
from matplotlib import pyplot

from bolearn import plotting
from bolearn.errors import ShapeError


def test_a_forest_has_a_row_for_each_effect_and_intervals_of_the_errors_asked_for() -> None:
    live = {"kernel": (0.2, 0.05), "prior": (-0.1, 0.02)}
    figure = plotting.forest(
        {"now": live, "then": {"prior": (0.3, 0.1)}},
        xlabel="gain",
        errors=3.0,
        stored=("then",),
        rules_after=("kernel",),
    )
    (panel,) = figure.axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["kernel", "prior"]
    labels = panel.get_legend_handles_labels()[1]
    assert labels == ["now", "then (precomputed)"]
    ends = [
        sorted(x for x, _ in segment)
        for bars in panel.containers
        for segment in bars.lines[2][0].get_segments()
    ]
    expected = [[0.05, 0.35], [-0.16, -0.04], [0.0, 0.6]]
    torch.testing.assert_close(torch.tensor(ends).double(), torch.tensor(expected).double())
    assert "3 standard errors" in panel.get_xlabel()
    assert panel.get_ylim()[0] > panel.get_ylim()[1]  # the first effect on top
    pyplot.close("all")


def test_designs_show_their_points_and_numbers() -> None:
    points = {"a": torch.tensor([[0.0, 1.0], [0.5, 0.25]]), "b": torch.rand(3, 2)}
    figure = plotting.designs(points, {"a": 0.25, "b": 0.125})
    assert [p.get_title() for p in figure.axes] == ["a\n0.2500", "b\n0.1250"]
    assert list(figure.axes[0].lines[0].get_ydata()) == [1.0, 0.25]
    with pytest.raises(ShapeError, match="n 2"):
        plotting.designs({"c": torch.rand(3, 3)}, {"c": 0.0})
    pyplot.close("all")
