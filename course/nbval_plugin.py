"""Settings for ``pytest --nbval``, loaded with ``-p course.nbval_plugin``.

nbval executes cells with ``store_history=False``, and IPython then ignores a trailing ``;``
(nbval issue 194): the stored notebook has no text where the new run has one, and strict
comparison fails. Cells are executed here as every Jupyter front end executes them.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from nbval.kernel import RunningKernel

from course.execute import kernel_environment

_scratch = tempfile.TemporaryDirectory(prefix="bolearn-nbval-", ignore_cleanup_errors=True)
_environment = kernel_environment(Path(__file__).resolve().parents[1], Path(_scratch.name))
os.environ.pop("MPLBACKEND", None)
os.environ.update(_environment)


def _execute_cell_input(self: Any, cell_input: str, allow_stdin: bool | None = None) -> Any:
    return self.kc.execute(
        cell_input, store_history=True, allow_stdin=allow_stdin, stop_on_error=False
    )


RunningKernel.execute_cell_input = _execute_cell_input
