"""Figures of tensors: what lies in memory, what broadcasting repeats.

Taught in part_1/tutorial_01.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .style import GREY, MARKERS, OKABE_ITO, ink_on, short_number

if TYPE_CHECKING:
    import matplotlib.figure


def memory_layout(base: Tensor, derived: Mapping[str, Tensor]) -> "matplotlib.figure.Figure":
    """A storage as a strip, and what several tensors read from it.

    Each cell shows a value and, as `@place` and as colour, where in its storage the value lies.

    Args:
        base: the tensor whose storage is the strip.
        derived: tensors of one or two axes by their label. One that shares `base`'s storage is
            drawn plain; one with a storage of its own gets a hatched frame.

    Raises:
        ShapeError: a tensor of no or of more than two axes.

    Example:
        >>> x = torch.arange(6.0).reshape(2, 3)
        >>> figure = memory_layout(x, {"x": x, "x.T": x.T})
    """
    from matplotlib import pyplot

    for label, x in derived.items():
        if x.ndim not in (1, 2):
            raise ShapeError(f"{label}: expected one or two axes, got shape {tuple(x.shape)}")
    columns = 3
    rows = -(-len(derived) // columns)
    figure = pyplot.figure(figsize=(9.0, 1.6 + 3.3 * rows), layout="none")
    box = {"left": 0.01, "right": 0.99, "top": 0.95, "bottom": 0.01}
    heights = [0.9] + [3.0] * rows
    grid = figure.add_gridspec(
        rows + 1, columns, height_ratios=heights, hspace=0.42, wspace=0.06, **box
    )
    places = base.untyped_storage().nbytes() // base.element_size()
    strip = figure.add_subplot(grid[0, :])
    _memory_cells(strip, base.as_strided((1, places), (places, 1), 0), places, (1, places))
    strip.set_title("the storage: large the value, small its place", size=14)
    address = base.untyped_storage().data_ptr()
    tables = [x if x.ndim == 2 else x.unsqueeze(0) for x in derived.values()]
    room = (max(x.shape[0] for x in tables), max(x.shape[1] for x in tables))
    for index, (label, x) in enumerate(derived.items()):
        panel = figure.add_subplot(grid[1 + index // columns, index % columns])
        own = x.untyped_storage().data_ptr() != address
        _memory_cells(panel, tables[index], places, room, framed=own)
        where = "a storage of its own" if own else f"offset {x.storage_offset()}"
        panel.set_title(
            f"{label}\nshape {tuple(x.shape)}, stride {tuple(x.stride())}\n{where}", size=13
        )
    return figure


def broadcast_diagram(
    pairs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
) -> "matplotlib.figure.Figure":
    """a + b for pairs of shapes of at most two axes; stretched axes appear as hatched ghosts.

    Raises:
        ShapeError: a shape of more than two axes.

    Example:
        >>> figure = broadcast_diagram([((3, 4), (4,)), ((3, 1), (4,))])
    """
    from matplotlib import pyplot

    for shape in (shape for pair in pairs for shape in pair):
        if len(shape) > 2:
            raise ShapeError(f"expected shapes of at most two axes, got {tuple(shape)}")
    size = (9.0, 2.4 * len(pairs))
    figure, panels = pyplot.subplots(len(pairs), 1, figsize=size, squeeze=False)
    for panel, (a, b) in zip(panels[:, 0], pairs, strict=True):
        rows, columns = torch.broadcast_shapes(a, b, (1, 1))
        parts = ((a, "sky", "+"), (b, "orange", "="), ((rows, columns), "green", ""))
        for k, (shape, color, sign) in enumerate(parts):
            left = k * (columns + 2.0)
            real = (1,) * (2 - len(shape)) + tuple(shape)
            _ghost_cells(panel, left, (rows, columns), real, OKABE_ITO[color])
            stride = torch.empty(shape).expand(rows, columns).stride()
            label = f"{tuple(shape)}"
            if sign and tuple(shape) != (rows, columns):
                label += f" read as {(rows, columns)}\nby strides {tuple(stride)}"
            panel.text(left + columns / 2, -0.3, label, ha="center", va="bottom", size=14)
            panel.text(left + columns + 1, rows / 2, sign, ha="center", va="center", size=20)
        panel.set_xlim(-0.3, 3 * columns + 4.3)
        panel.set_ylim(rows + 0.2, -1.0)
        panel.set_aspect("equal")
        panel.axis("off")
    return figure


def axes_flow(
    stages: Sequence[tuple[str, tuple[int, ...]]], letters: Mapping[int, str]
) -> "matplotlib.figure.Figure":
    """One column for each stage of a computation, one row for each axis that it may have.

    Args:
        stages: the name and the shape of each intermediate result.
        letters: the letter of each axis by its size; all sizes differ.

    Example:
        >>> figure = axes_flow([("X", (4, 3)), ("sum", (4,))], {4: "b", 3: "q"})
    """
    from matplotlib import pyplot

    colors = [OKABE_ITO[name] for name in ("sky", "orange", "green", "yellow", "purple")]
    figure, panel = pyplot.subplots(figsize=(9, 3.4))
    for column, (_, shape) in enumerate(stages):
        for row, (size, letter) in enumerate(letters.items()):
            there = size in shape
            face: object = (colors[row % len(colors)], 0.6) if there else "white"
            style: dict[str, Any] = {"width": 0.84, "height": 0.84, "edgecolor": GREY}
            panel.bar(column, bottom=row, facecolor=face, **style)
            text = f"{letter} = {size}" if there else "–"
            panel.text(column, row + 0.42, text, ha="center", va="center", size=13)
    panel.set_xticks(range(len(stages)), [name for name, _ in stages], size=14)
    panel.set_yticks([])
    panel.set_ylim(len(letters), -0.1)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    return figure


def height_map(
    x0: Float[Tensor, "n m"],
    x1: Float[Tensor, "n m"],
    heights: Float[Tensor, "n m"],
    plans: Float[Tensor, "b q 2"],
) -> "matplotlib.figure.Figure":
    """Heights over a grid of two inputs, with several sets of points, a marker for each set.

    Example:
        >>> x = torch.linspace(0.0, 1.0, 3)
        >>> x0, x1 = torch.meshgrid(x, x, indexing="ij")
        >>> figure = height_map(x0, x1, x0 + x1, torch.rand(2, 3, 2))
    """
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(6.4, 4.8))
    grid = (x0.tolist(), x1.tolist(), heights.tolist())
    figure.colorbar(panel.contourf(*grid, levels=12, cmap="cividis"), label="height")
    for points, marker in zip(plans, MARKERS, strict=False):
        look: dict[str, Any] = {"ls": "", "mfc": "white", "mec": "black", "ms": 10}
        panel.plot(*points.T.tolist(), marker=marker, **look)
    panel.set(xlabel="first coordinate", ylabel="second coordinate", aspect="equal")
    panel.grid(visible=False)
    return figure


def success_heatmap(
    fractions: Mapping[str, Float[Tensor, "rows columns"]],
    rows: Sequence[float],
    columns: Sequence[float],
    *,
    row_label: str,
    column_label: str,
) -> "matplotlib.figure.Figure":
    """One map for each title: the fraction of attempts that succeeded, as colour and as per cent.

    Args:
        fractions: by title, values in [0, 1].
        rows: the number beside each row.
        columns: the number below each column.
        row_label: what the rows are.
        column_label: what the columns are.

    Raises:
        ShapeError: a table of another size than the rows and columns say.

    Example:
        >>> table = torch.eye(2, dtype=torch.float64)
        >>> labels = {"row_label": "points", "column_label": "jitter"}
        >>> figure = success_heatmap({"float64": table}, [10, 20], [0, 1e-6], **labels)
    """
    from matplotlib import pyplot

    for title, values in fractions.items():
        if tuple(values.shape) != (len(rows), len(columns)):
            raise ShapeError(
                f"{title}: expected a table of {len(rows)} by {len(columns)}, "
                f"got shape {tuple(values.shape)}"
            )
    size = (9.0, 0.7 + 2.8 * len(fractions))
    figure, panels = pyplot.subplots(
        len(fractions), 1, figsize=size, squeeze=False, sharex=True, layout="constrained"
    )
    for panel, (title, values) in zip(panels[:, 0], fractions.items(), strict=True):
        panel.imshow(values.tolist(), cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
        for i, line in enumerate(values.tolist()):
            for j, value in enumerate(line):
                style = {"color": ink_on(value), "ha": "center", "va": "center", "size": 13}
                panel.text(j, i, f"{100 * value:.0f}", **style)
        panel.set_xticks(range(len(columns)), [short_number(value) for value in columns])
        panel.set_yticks(range(len(rows)), [short_number(value) for value in rows])
        panel.set_ylabel(row_label)
        panel.set_title(f"{title}: per cent that succeed")
        panel.grid(visible=False)
        panel.tick_params(length=0, labelsize=13)
        panel.spines[:].set_visible(False)
    panels[-1, 0].set_xlabel(column_label)
    return figure


def _memory_cells(
    panel: Any, x: Tensor, places: int, room: tuple[int, int], *, framed: bool = False
) -> None:
    """One square for each element of a table, found by the address rule alone."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            place = x.storage_offset() + i * x.stride(0) + j * x.stride(1)
            shade = place / max(places - 1, 1)
            color = colormaps["cividis"](shade)
            panel.add_patch(Rectangle((j, i), 1, 1, facecolor=color, edgecolor="white", lw=2))
            style = {"color": ink_on(shade), "ha": "center", "va": "center"}
            panel.text(j + 0.5, i + 0.36, f"{float(x[i, j]):g}", size=15, **style)
            panel.text(j + 0.5, i + 0.77, f"@{place}", size=11, **style)
    if framed:
        frame = Rectangle((-0.3, -0.3), columns + 0.6, rows + 0.6, fill=False, zorder=0)
        frame.set(edgecolor=OKABE_ITO["vermillion"], hatch="////")
        panel.add_patch(frame)
    spare = (room[1] - columns) / 2  # the same room in every panel: cells of one size
    panel.set_xlim(-0.35 - spare, columns + spare + 0.35)
    panel.set_ylim(room[0] + 0.35, -0.35)
    panel.set_aspect("equal", anchor="N")
    panel.axis("off")


def _ghost_cells(
    panel: Any, left: float, shape: tuple[int, ...], real: tuple[int, ...], color: str
) -> None:
    """A grid of cells; those beyond `real` are ghosts: white, dashed and hatched."""
    from matplotlib.patches import Rectangle

    solid: dict[str, Any] = {"facecolor": color, "edgecolor": "black", "lw": 1.2}
    ghost = solid | {"facecolor": "white", "edgecolor": GREY, "ls": "--", "hatch": "///"}
    for i in range(shape[0]):
        for j in range(shape[1]):
            style = solid if i < real[0] and j < real[1] else ghost
            panel.add_patch(Rectangle((left + j, i), 1, 1, **style))
