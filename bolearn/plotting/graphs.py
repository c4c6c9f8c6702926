"""Figures of computational graphs: how adjoints travel, and what torch builds.

Taught in part_1/tutorial_04.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import DataError

if TYPE_CHECKING:
    import matplotlib.figure

Place = tuple[float | int, float | int]


def adjoint_sweep(
    places: Mapping[str, Place],
    values: Mapping[str, float | int],
    edges: Sequence[tuple[str, str]],
    stages: Sequence[tuple[str, Mapping[str, float | int], Sequence[str]]],
) -> "matplotlib.figure.Figure":
    """A graph at several moments of reverse mode, one panel each.

    A node is white before an adjoint has arrived, grey while it waits for more, and black when it
    has passed its adjoint on.

    Args:
        places: where each node is drawn.
        values: of the nodes.
        edges: pairs (parent, child).
        stages: for each panel a title, the adjoints (0: nothing has arrived), and the nodes that
            have passed theirs on.

    Raises:
        DataError: an edge to a node that has no place.

    Example:
        >>> places = {"x": (0, 0), "y": (1, 0)}
        >>> stages = [("start", {"x": 0.0, "y": 1.0}, [])]
        >>> figure = adjoint_sweep(places, {"x": 2.0, "y": 6.0}, [("x", "y")], stages)
    """
    from matplotlib import pyplot

    _known(places, [name for edge in edges for name in edge])
    rows = -(-len(stages) // 2)
    columns = min(2, len(stages))
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(5.0 * columns, 3.5 * rows), squeeze=False
    )
    for panel in panels.flat[len(stages) :]:
        panel.axis("off")
    for panel, (title, adjoints, finished) in zip(panels.flat, stages, strict=False):
        for parent, child in edges:
            _arrow(panel, places[parent], places[child], room=28)
        for name, place in places.items():
            done, adjoint = name in finished, adjoints.get(name, 0.0)
            shade = "black" if done else "0.8" if adjoint else "white"
            panel.scatter(*place, s=3000, c=shade, edgecolors="black", zorder=2)
            text = f"{name}={values[name]:g}" + (f"\n[{adjoint:g}]" if adjoint else "")
            style = {"ha": "center", "va": "center", "weight": "bold", "size": 15}
            panel.text(*place, text, color="white" if done else "black", **style)
        _frame(panel, list(places.values()), 0.6)
        panel.set_title(title, size=16)
    return figure


def operation_graph(
    nodes: Mapping[str, Place],
    edges: Sequence[tuple[str, str]],
    labels: Mapping[str, str],
    *,
    ends: Sequence[str] = (),
) -> "matplotlib.figure.Figure":
    """The nodes of a graph that torch built as boxes, with what each made below it.

    Args:
        nodes: where each node is drawn.
        edges: pairs (node, next node), in the direction in which `backward` goes.
        labels: the text below a box.
        ends: the nodes at which the graph ends; their boxes are grey.

    Raises:
        DataError: an edge to a node that has no place.

    Example:
        >>> figure = operation_graph({"Sin": (0, 0), "x": (1, 0)}, [("Sin", "x")], {"Sin": "y"})
    """
    from matplotlib import pyplot

    _known(nodes, [name for edge in edges for name in edge])
    figure, panel = pyplot.subplots(figsize=(10.0, 4.2))
    for start, end in edges:
        short = 0.7 if end in ends else 0.2
        _arrow(panel, nodes[start], (nodes[end][0] - short, nodes[end][1]), room=9)
    for name, (x, y) in nodes.items():
        shade = "0.85" if name in ends else "white"
        box = {"boxstyle": "round", "fc": shade, "ec": "black"}
        text = name.split("#")[0]  # a number sign tells equal operations apart
        panel.text(x, y, text, ha="center", va="center", size=15, zorder=3, bbox=box)
        style: dict[str, Any] = {"ha": "center", "va": "top", "size": 15, "style": "italic"}
        panel.text(x, y - 0.3, labels.get(name, ""), **style)
    _frame(panel, list(nodes.values()), 0.9)
    return figure


def _arrow(panel: Any, start: Place, end: Place, room: int) -> None:
    look = {"arrowstyle": "-|>", "shrinkA": room, "shrinkB": room, "lw": 1.8, "color": "black"}
    panel.annotate("", end, start, arrowprops=look, zorder=1)


def _frame(panel: Any, places: Sequence[Place], margin: float) -> None:
    x, y = zip(*places, strict=True)
    panel.set_xlim(min(x) - margin, max(x) + margin)
    panel.set_ylim(min(y) - margin, max(y) + margin)
    panel.axis("off")


def _known(places: Mapping[str, Place], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in places]:
        raise DataError(f"expected a place for every node, got none for {missing[0]!r}")
