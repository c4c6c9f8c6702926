"""The figures of the course, in one style, one module a theme.

Every function returns a matplotlib figure and shows nothing; `bolearn.teach.show` shows it with its
alternative text. matplotlib is imported when the first figure is drawn.

    style     colours, line styles, `use_style`
    studies   regret with bands, paired differences
    models    beliefs, contours, the report on a fit
    tensors   memory, broadcasting
    lines     curves, predictions against measurements, intervals
    graphs    adjoints on their way, the operations that torch recorded
    gradients values with slopes, the arm and its VJP, Jacobians, costs
    chance    estimates and their spread, averages over recorded noise, even points
    dynamics  cobwebs, basins, descents, phase portraits
    experiments  clouds, shares, tables, line searches, batches
    surrogates  two bands, reliability, residuals, scores of many splits
    acquisitions  rounding errors, vanishing gradients, climbs, beliefs side by side
    choices   effects with intervals in a forest plot, designs with a score
    lookahead lines and their envelope, rules on one belief

Taught in part_4/tutorial_03.
"""

from .acquisitions import beliefs, climb_maps, error_panels, shares
from .chance import averages, estimate_histograms, points_in_cells
from .choices import designs, forest
from .dynamics import (
    ENDS,
    basin_strips,
    bifurcation,
    cobweb,
    descents,
    landscape,
    phase_portrait,
    stability_triangle,
)
from .experiments import (
    batch_raster,
    clouds,
    cycle_basins,
    line_search,
    share_bars,
    value_table,
)
from .gradients import arm_and_vjp, grouped_bars, jacobian_tables, values_and_slopes
from .graphs import adjoint_sweep, operation_graph
from .lines import curves, predicted_and_measured, with_intervals
from .lookahead import envelope, rules
from .models import contour, model_report, posterior_1d
from .studies import paired_differences, regret_bands, regret_curves, traced_bound
from .style import GREY, HATCHES, LINE_STYLES, MARKERS, OKABE_ITO, PALE, use_style
from .surrogates import reliability, residual_histograms, score_strips, two_bands
from .tensors import axes_flow, broadcast_diagram, height_map, memory_layout, success_heatmap

__all__ = [
    "use_style",
    "OKABE_ITO",
    "LINE_STYLES",
    "MARKERS",
    "GREY",
    "HATCHES",
    "PALE",
    "regret_bands",
    "paired_differences",
    "regret_curves",
    "traced_bound",
    "posterior_1d",
    "contour",
    "model_report",
    "memory_layout",
    "broadcast_diagram",
    "success_heatmap",
    "axes_flow",
    "height_map",
    "adjoint_sweep",
    "operation_graph",
    "values_and_slopes",
    "arm_and_vjp",
    "jacobian_tables",
    "grouped_bars",
    "estimate_histograms",
    "averages",
    "points_in_cells",
    "curves",
    "predicted_and_measured",
    "with_intervals",
    "cobweb",
    "ENDS",
    "basin_strips",
    "bifurcation",
    "descents",
    "phase_portrait",
    "stability_triangle",
    "landscape",
    "clouds",
    "share_bars",
    "value_table",
    "cycle_basins",
    "line_search",
    "batch_raster",
    "two_bands",
    "reliability",
    "residual_histograms",
    "score_strips",
    "error_panels",
    "shares",
    "climb_maps",
    "beliefs",
    "forest",
    "designs",
    "envelope",
    "rules",
]
