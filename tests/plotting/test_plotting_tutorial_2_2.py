"""The figure that tutorial 2.2 draws."""

import pytest
import torch

from bolearn import plotting
from bolearn.errors import ShapeError

pyplot = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def closed():
    yield
    pyplot.close("all")


def bowl(kappa):
    def loss(x):
        return 0.5 * (x[..., 0] ** 2 + kappa * x[..., 1] ** 2)

    return loss


PATH = torch.tensor([[1.0, 0.5], [-0.5, 0.25], [0.25, 0.0]], dtype=torch.float64)


def test_each_panel_has_its_paths_its_window_and_its_labels():
    long = torch.linspace(1, 0, 200, dtype=torch.float64).unsqueeze(-1).expand(200, 2)
    panels = {"round": (bowl(1.0), {"flea": PATH}), "long": (bowl(9.0), {"bead": long})}
    labels = [("z₁", "z₂"), ("x₁", "x₂")]
    figure = plotting.descents(panels, [(1.5, 1.2), (3.0, 1.0)], labels=labels)
    left, right = figure.axes
    assert left.get_title() == "round" and left.get_xlabel() == "z₁" and right.get_ylabel() == "x₂"
    assert left.get_ylim() == (-1.2, 1.2) and right.get_xlim() == (-3.0, 3.0)
    x, y = left.get_lines()[0].get_data()
    assert list(zip(x, y, strict=True)) == [tuple(point) for point in PATH.tolist()]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["flea", "bead"]


def test_a_label_looks_the_same_in_all_panels():
    both = {"flea": PATH, "bead": 0.5 * PATH}
    panels = {"one": (bowl(1.0), both), "two": (bowl(4.0), {"bead": PATH})}
    first, second = plotting.descents(panels, [(1.5, 1.2)]).axes
    bead, flea = first.get_lines()[1], first.get_lines()[0]
    again = second.get_lines()[0]
    assert bead.get_color() == again.get_color() and bead.get_linestyle() == again.get_linestyle()
    assert bead.get_color() != flea.get_color() and bead.get_marker() != flea.get_marker()


def test_the_fifth_level_line_passes_through_the_highest_start():
    paths = {"low": 0.5 * PATH, "high": PATH}
    (panel,) = plotting.descents({"bowl": (bowl(4.0), paths)}, [(2.0, 2.0)]).axes
    (lines,) = panel.collections
    assert lines.levels[4] == pytest.approx(float(bowl(4.0)(PATH[0])))
    assert lines.levels[9] == pytest.approx(4 * lines.levels[4])  # twice as far out


def test_a_path_has_two_coordinates():
    with pytest.raises(ShapeError, match="flea: expected shape t 2"):
        plotting.descents({"bowl": (bowl(1.0), {"flea": PATH[0]})}, [(1, 1)])
