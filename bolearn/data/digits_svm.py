"""Cross-validated accuracy of an RBF support vector machine on handwritten digits.

``python -m bolearn.data.digits_svm`` recomputes the table ``digits_svm.json`` beside this file
(1,681 cross-validations, ten to twenty minutes of one core). The digits ship with scikit-learn:
1,797 images of 8 x 8 pixels (Alpaydin & Kaynak, "Optical recognition of handwritten digits", UCI
Machine Learning Repository, 1998); nothing is downloaded.

Taught in part_4/tutorial_03.
"""

import argparse
import json
import platform
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

IMAGES = 1797
FOLDS = 5
FOLD_SEED = 0
STEPS_PER_DECADE = 8
LOG10_C = (-2.0, 3.0)
LOG10_GAMMA = (-4.0, 1.0)
TABLE = Path(__file__).with_name("digits_svm.json")


@lru_cache(maxsize=1)
def _digits() -> tuple[Any, Any]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels / 16.0, labels  # grey levels 0 .. 16 become 0 .. 1


def correct_images(C: float, gamma: float) -> int:
    """How many of the 1,797 images are classified correctly when held out. About 0.3 s.

    Five stratified folds, shuffled once with seed 0 and then fixed: every image is predicted by the
    machine that was trained on the four folds without it.

    Args:
        C: penalty of margin violations, dimensionless.
        gamma: inverse squared width of the kernel exp(-gamma |x - x'|^2), pixels scaled to [0, 1].

    Returns:
        An integer, so that two runs that agree, agree exactly.
    """
    from sklearn.model_selection import (
        StratifiedKFold,
        cross_val_predict,
    )
    from sklearn.svm import SVC

    pixels, labels = _digits()
    folds = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=FOLD_SEED)
    guesses = cross_val_predict(SVC(C=C, gamma=gamma), pixels, labels, cv=folds)
    return int((guesses == labels).sum())


def grid(low: float, high: float) -> list[float]:
    """Exponents from ``low`` to ``high`` in steps of an eighth of a decade (exact in binary)."""
    return [low + i / STEPS_PER_DECADE for i in range(round((high - low) * STEPS_PER_DECADE) + 1)]


def compute() -> dict[str, Any]:
    """The whole table with everything needed to recompute it."""
    import numpy
    import scipy
    import sklearn

    rows, columns = grid(*LOG10_C), grid(*LOG10_GAMMA)
    began = time.perf_counter()
    counts = []
    for i, row in enumerate(rows):
        counts.append([correct_images(10.0**row, 10.0**column) for column in columns])
        print(f"{i + 1}/{len(rows)} rows, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return {
        "what": "number of correctly classified held-out images, rows log10_C, columns log10_gamma",
        "command": "OMP_NUM_THREADS=1 python -m bolearn.data.digits_svm",
        "scheme": f"StratifiedKFold(n_splits={FOLDS}, shuffle=True, random_state={FOLD_SEED}), "
        "SVC(kernel='rbf'), pixels divided by 16",
        "images": IMAGES,
        "versions": {
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "numpy": numpy.__version__,
            "scipy": scipy.__version__,
        },
        "seconds": round(time.perf_counter() - began),
        "log10_C": rows,
        "log10_gamma": columns,
        "correct": counts,
    }


def main() -> None:
    """Recompute the table and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write the table")
    path = parser.parse_args().out
    table = compute()
    counts = ",\n  ".join(json.dumps(row) for row in table.pop("correct"))
    entries = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    entries.append(f'"correct": [\n  {counts}\n ]')
    path.write_text("{\n " + ",\n ".join(entries) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
