"""Figures of Part 3: panels side by side."""

import torch
from matplotlib import pyplot

from bolearn import plotting


def test_intervals_are_drawn_on_the_given_panel() -> None:
    x = torch.tensor([1.0, 2.0])
    table = torch.stack([x - 0.5, x, x + 0.5])
    figure, (left, right) = pyplot.subplots(1, 2)
    drawn = plotting.with_intervals({"share": (x, table)}, {}, xlabel="x", ylabel="y", ax=right)
    assert drawn is figure and len(figure.axes) == 2
    assert not left.containers and len(right.containers) == 1
    assert right.get_ylabel() == "y" and left.get_ylabel() == ""
