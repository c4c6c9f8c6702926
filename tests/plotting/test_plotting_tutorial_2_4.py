"""The figures that tutorial 2.4 draws."""

import pytest
import torch

from bolearn import plotting
from bolearn.errors import ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")
QuadMesh = pytest.importorskip("matplotlib.collections").QuadMesh


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def bowl(x):
    return x.square().sum(-1)


def test_a_landscape_shows_every_mark_where_it_is_and_says_what_it_is():
    marks = {"bottom": torch.zeros(1, 2), "starts": torch.tensor([[0.5, -0.5], [-1.0, 0.25]])}
    figure = plotting.landscape(bowl, 2, marks)
    panel = figure.axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in panel.get_lines()}
    assert drawn == {"bottom": [[0.0, 0.0]], "starts": [[0.5, -0.5], [-1.0, 0.25]]}
    assert panel.get_xlim() == (-2, 2) == panel.get_ylim()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["bottom", "starts"]


def test_basins_colour_the_starts_that_belong_to_them_with_x_to_the_right():
    basins = {"left": lambda x: x[:, 0] < -0.4, "right": lambda x: x[:, 0] > -0.4}
    figure = plotting.landscape(bowl, 1, {}, basins=basins, resolution=11)
    meshes = [mesh for mesh in figure.axes[0].collections if isinstance(mesh, QuadMesh)]
    drawn = [mesh.get_array().reshape(11, 11) for mesh in meshes]
    columns = [mesh.count(0).tolist() for mesh in drawn]  # how many cells are drawn
    assert columns[0] == [11] * 3 + [0] * 8
    assert [a + b for a, b in zip(*columns, strict=True)] == [11] * 11
    (legend,) = figure.legends
    assert [patch.get_hatch() for patch in legend.get_patches()] == ["", "///"]
    assert [text.get_text() for text in legend.get_texts()] == ["left", "right"]


def test_intervals_reach_from_their_low_to_their_high_ends():
    x = torch.tensor([1.0, 2.0])
    table = torch.tensor([[0.5, 3.0], [1.0, 4.0], [3.0, 4.5]])
    figure = plotting.with_intervals(
        {"counted": (x, table)}, {"theory": (x, 2 * x)}, xlabel="x", ylabel="y", log="y"
    )
    (panel,) = figure.axes
    (bars,) = panel.containers
    segments = [segment.tolist() for segment in bars.lines[2][0].get_segments()]
    assert segments == [[[1.0, 0.5], [1.0, 3.0]], [[2.0, 3.0], [2.0, 4.5]]]
    assert bars.lines[0].get_ydata().tolist() == [1.0, 4.0]
    theory = next(line for line in panel.get_lines() if line.get_label() == "theory")
    assert list(theory.get_ydata()) == [2.0, 4.0]
    assert panel.get_yscale() == "log" and panel.get_xscale() == "linear"


def test_intervals_ask_for_three_numbers_for_each_point():
    x = torch.tensor([1.0, 2.0])
    with pytest.raises(ShapeError, match="counted"):
        plotting.with_intervals({"counted": (x, x)}, {}, xlabel="x", ylabel="y")


def test_counts_get_ticks_at_whole_numbers():
    n = torch.arange(1, 4)
    table = torch.stack([n - 0.5, n, n + 0.5])
    figure = plotting.with_intervals({"counted": (n, table)}, {}, xlabel="n", ylabel="y")
    assert all(tick == round(tick) for tick in figure.axes[0].get_xticks())
    figure = plotting.with_intervals({"counted": (n.double(), table)}, {}, xlabel="n", ylabel="y")
    assert not all(tick == round(tick) for tick in figure.axes[0].get_xticks())
