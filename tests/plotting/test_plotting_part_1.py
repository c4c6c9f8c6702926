"""The figures that the tutorials of Part 1 draw."""

import math

import pytest
import torch

from bolearn import plotting
from bolearn.errors import DataError, ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def texts(panel):
    return [text.get_text() for text in panel.texts]


def test_a_broadcast_label_names_the_shape_and_how_it_is_read_apart():
    figure = plotting.broadcast_diagram([((3, 4), (4,))])
    (panel,) = figure.axes
    assert "(4,) read as (3, 4)\nby strides (0, 1)" in texts(panel)
    assert texts(panel).count("(3, 4)") == 2  # the first summand and the sum: nothing is stretched


def test_the_flow_of_axes_shows_each_axis_where_the_stage_has_it():
    figure = plotting.axes_flow([("X", (4, 3)), ("sum", (4,))], {4: "b", 3: "q"})
    (panel,) = figure.axes
    assert texts(panel) == ["b = 4", "q = 3", "b = 4", "–"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["X", "sum"]


def test_a_height_map_has_a_marker_for_each_set_of_points():
    x = torch.linspace(0.0, 1.0, 4, dtype=torch.float64)
    x0, x1 = torch.meshgrid(x, x, indexing="ij")
    plans = torch.rand(3, 2, 2, dtype=torch.float64)
    panel = plotting.height_map(x0, x1, x0 + x1, plans).axes[0]
    assert len({line.get_marker() for line in panel.get_lines()}) == 3
    for line, points in zip(panel.get_lines(), plans, strict=True):
        drawn = torch.tensor(line.get_xydata(), dtype=torch.float64)
        torch.testing.assert_close(drawn, points)


def test_adjoints_turn_nodes_grey_and_black():
    places = {"x": (0, 0), "y": (1, 0)}
    stages = [("before", {"y": 1.0}, []), ("after", {"x": 3.0, "y": 1.0}, ["y"])]
    figure = plotting.adjoint_sweep(places, {"x": 2.0, "y": 6.0}, [("x", "y")], stages)
    before, after = figure.axes
    assert "x=2" in texts(before) and "y=6\n[1]" in texts(before)
    assert "x=2\n[3]" in texts(after)
    shades = [dot.get_facecolor()[0][0] for dot in after.collections]
    assert shades == [0.8, 0.0]  # x waits, y has passed on
    with pytest.raises(DataError, match="place for every node"):
        plotting.adjoint_sweep({"x": (0, 0)}, {"x": 1.0}, [("x", "y")], stages)


def test_an_operation_graph_has_an_arrow_for_each_edge_and_a_label_for_each_box():
    nodes = {"Mul": (0, 0), "Mul#2": (1, 0), "AccumulateGrad": (2, 0)}
    edges = [("Mul", "Mul#2"), ("Mul#2", "AccumulateGrad")]
    labels = {"Mul": "z", "Mul#2": "u", "AccumulateGrad": "x.grad"}
    figure = plotting.operation_graph(nodes, edges, labels, ends=["AccumulateGrad"])
    shown = texts(figure.axes[0])
    assert shown.count("") == len(edges)  # an arrow is an annotation without text
    assert shown.count("Mul") == 2 and {"z", "u", "x.grad"} <= set(shown)


def test_slopes_that_are_nan_are_hatched():
    x = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)
    bad = torch.where(x > 0, 1.0, math.nan)
    left, right = plotting.values_and_slopes(x, {"bad": (x, bad), "good": (x, x)}).axes
    assert [patch.get_hatch() for patch in left.patches] == ["//"] and not right.patches


def test_the_arm_asks_for_an_image_of_every_direction():
    circle = torch.eye(2, dtype=torch.float64)
    arm = {"straight": torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64)}
    figure = plotting.arm_and_vjp(arm, {"straight": 2 * circle}, circle, {"right": 0})
    _top, bottom = figure.axes
    assert bottom.get_lines()[-1].get_xydata().tolist() == [[2.0, 0.0]]
    with pytest.raises(ShapeError, match="straight"):
        plotting.arm_and_vjp(arm, {"straight": circle[:1]}, circle, {"right": 0})


def test_zero_derivatives_say_so():
    panel = plotting.jacobian_tables({"identity": torch.eye(3, dtype=torch.float64)}).axes[0]
    assert texts(panel) == ["0"] * 6


def test_a_group_without_a_bar_keeps_its_place_empty():
    bars = {"one": [1, 10], "two": [None, 5]}
    panel = plotting.grouped_bars(["a", "b"], bars, ylabel="cost").axes[0]
    assert [bar.get_height() for bar in panel.patches] == [1, 10, 5]
    assert panel.patches[2].get_x() > panel.patches[1].get_x() > 0.5
    with pytest.raises(ShapeError, match="expected 2 bars"):
        plotting.grouped_bars(["a", "b"], {"one": [1]}, ylabel="cost")


def test_histograms_integrate_to_one_and_mark_the_truth():
    g = torch.Generator().manual_seed(0)
    values = {"a": torch.randn(500, generator=g).clamp(-2, 2).double()}
    figure = plotting.estimate_histograms({"t": values}, {"t": 0.5}, limits=(-3, 3), xlabel="x")
    (panel,) = figure.axes
    area = sum(bar.get_height() * bar.get_width() for bar in panel.patches[:-1])
    assert area == pytest.approx(1.0)
    assert panel.get_lines()[0].get_xdata()[0] == 0.5


def test_averages_mark_their_lowest_value_unless_told_otherwise():
    x = torch.linspace(-1.0, 1.0, 5, dtype=torch.float64)
    panels = {"bowl": (x**2, torch.stack([(x - 0.5) ** 2, (x + 0.5) ** 2]))}
    lines = plotting.averages(x, panels, xlabel="x", ylabels=["mean"]).axes[0].get_lines()
    assert [line.get_markevery() for line in lines[:2]] == [[3], [1]]
    marks = {"bowl": [[0, 4], [2]]}
    lines = plotting.averages(x, panels, xlabel="x", ylabels=["mean"], marks=marks).axes[0]
    assert [line.get_markevery() for line in lines.get_lines()[:2]] == [[0, 4], [2]]


def test_points_stand_over_their_cells():
    points = torch.rand(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    panel = plotting.points_in_cells({"random": points}, 4).axes[0]
    assert panel.get_xticks().tolist() == [0, 0.25, 0.5, 0.75, 1]
    drawn = torch.tensor(panel.get_lines()[0].get_xydata(), dtype=torch.float64)
    torch.testing.assert_close(drawn, points)
