"""Run-time shape checks, one thread, and reproducible Hypothesis runs for the whole suite."""

from __future__ import annotations

import os
import sys

import hypothesis
from jaxtyping import install_import_hook

# Every annotation of the package is enforced while its tests run: a wrong shape in a signature
# cannot survive. The hook has to be there before the package is imported.
assert "bolearn" not in sys.modules, "bolearn was imported before its annotations could be checked"
install_import_hook("bolearn", "beartype.beartype")

import torch  # noqa: E402

torch.set_num_threads(1)

hypothesis.settings.register_profile("default-here", deadline=None, print_blob=True)
hypothesis.settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default-here")
