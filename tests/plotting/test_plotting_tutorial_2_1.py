"""The figures that tutorial 2.1 draws."""

import itertools
import math

import pytest
import torch

from bolearn import plotting
from bolearn.errors import ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def by_label(panel):
    return {line.get_label(): line for line in panel.get_lines()}


def test_a_cobweb_goes_to_the_curve_and_back_to_the_diagonal():
    orbit = torch.tensor([1.0, -0.5, 0.25, -0.125], dtype=torch.float64)
    figure = plotting.cobweb({"lr = 1.5": (lambda x: -0.5 * x, orbit)}, (-1.2, 1.2))
    (panel,) = figure.axes
    x, y = by_label(panel)["the orbit"].get_data()
    corners = list(zip(x, y, strict=True))
    assert corners[0] == (1.0, 1.0) and corners[-1] == (0.25, -0.125)
    for (a, b), (c, d) in itertools.pairwise(corners):
        vertical = a == c and d == -0.5 * c  # a step: to the curve
        level = b == d and c == d  # stand there: to the diagonal
        assert vertical or level
    assert len(corners) == 2 * len(orbit) - 2
    assert panel.get_title() == "lr = 1.5" and panel.get_xlim() == (-1.2, 1.2)


def test_a_cobweb_draws_the_map_in_each_panel_and_the_mirror_where_asked():
    orbit = torch.tensor([0.5, 0.25], dtype=torch.float64)
    maps = {"square": lambda x: x**2, "cube": lambda x: x**3}
    figure = plotting.cobweb({k: (f, orbit) for k, f in maps.items()}, (-1, 1), mirror=True)
    for panel, f in zip(figure.axes, maps.values(), strict=True):
        x, y = by_label(panel)["the map"].get_data()
        torch.testing.assert_close(torch.tensor(list(y)), f(torch.tensor(list(x))))
        x, y = by_label(panel)["mirror: y = −x"].get_data()
        assert [-value for value in x] == list(y)
    plain = plotting.cobweb({"square": (maps["square"], orbit)}, (-1, 1))
    assert "mirror: y = −x" not in by_label(plain.axes[0])


def bars(panel):
    return [(p.get_x(), p.get_x() + p.get_width(), p.get_hatch() or "") for p in panel.patches]


def test_basin_strips_join_equal_neighbours_and_change_halfway_between_different_ones():
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64)
    ends = torch.tensor([-1.0, -1.0, 1.0, 1.0, math.inf], dtype=torch.float64)
    figure = plotting.basin_strips(
        {"strip": (x, ends), "again": (x, ends.masked_fill(ends == 1, -1.0))}, edge=1.5
    )
    first, second = figure.axes
    assert bars(first) == [(-2.0, -0.5, "///"), (-0.5, 1.5, ""), (1.5, 2.0, "xxx")]
    assert bars(second) == [(-2.0, 1.5, "///"), (1.5, 2.0, "xxx")]
    assert len(first.get_lines()) == 1 and first.get_title(loc="left") == "strip"
    assert second.get_xlabel() == "start x"


def test_basin_strips_ask_for_one_end_for_each_start():
    x = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(ShapeError, match="3"):
        plotting.basin_strips({"strip": (x, x[:2])})


def test_a_bifurcation_diagram_stands_every_visited_place_over_its_parameter():
    parameter = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    visited = torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.5, 4.0]], dtype=torch.float64)
    figure = plotting.bifurcation(parameter, visited, xlabel="lr", ylabel="x", marks={"fork": 0.25})
    (panel,) = figure.axes
    dots = panel.get_lines()[0].get_data()
    assert set(zip(*dots, strict=True)) == {(0, 1), (0.5, 2), (0.5, 2.5), (1, 3), (1, 4)}
    assert list(by_label(panel)["fork"].get_xdata()) == [0.25, 0.25]
    with pytest.raises(ShapeError, match="3 values"):
        plotting.bifurcation(parameter, visited.T, xlabel="lr", ylabel="x")
