"""Figures with words: every figure is shown with its alternative text."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from bolearn.errors import DataError
from bolearn.teach.display import publish, shell

MAX_BYTES = 120_000


def show(fig: Any, alt: str, name: str | None = None) -> None:
    """Show a matplotlib figure as a PNG with its alternative text, and close it.

    The text is the output's plain-text form, stands below the figure as its caption, and is in the
    output's metadata (`image/png`, `alt`). In plain Python it is printed instead of the figure.

    Args:
        fig: a matplotlib figure.
        alt: one sentence that says what is to be seen.
        name: a short name for the output's metadata.

    Raises:
        DataError: the text is empty, `fig` is no figure, or its PNG is larger than 120 kB.
    """
    if not isinstance(alt, str) or not alt.strip():
        raise DataError(f"expected a sentence that describes the figure, got {alt!r}")
    if not hasattr(fig, "savefig"):
        raise DataError(f"expected a matplotlib figure, got {type(fig).__name__}")
    from matplotlib import pyplot

    caption = " ".join(alt.split())
    try:
        if shell() is None:
            print(f"figure: {caption}")
            return
        png = _png(fig)
    finally:
        pyplot.close(fig)
    if len(png) > MAX_BYTES:
        raise DataError(
            f"expected a figure of at most {MAX_BYTES} bytes, got {len(png)}; make it smaller, "
            "lower its dpi, or rasterize dense artists"
        )
    metadata = {"alt": caption} if name is None else {"alt": caption, "name": name}
    publish(
        {"image/png": base64.b64encode(png).decode(), "text/plain": f"figure: {caption}"},
        {"image/png": metadata},
    )
    publish(
        {
            "text/plain": caption,
            "text/html": f'<p style="font-style:italic;color:inherit">{html.escape(caption)}</p>',
        }
    )


def _png(fig: Any) -> bytes:
    """The figure as a PNG of at most 128 colours: a fourth of the size, the same to the eye."""
    from PIL import Image

    raw = io.BytesIO()
    fig.savefig(raw, format="png", bbox_inches="tight", metadata={"Software": None})
    with Image.open(raw) as image:
        small = io.BytesIO()
        image.convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    return min(raw.getvalue(), small.getvalue(), key=len)
