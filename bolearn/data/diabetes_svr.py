"""Cross-validated R^2 of an RBF support vector regression on the diabetes data.

``python -m bolearn.data.diabetes_svr`` recomputes the table ``diabetes_svr.json`` beside this file
(3,675 cross-validations, five to ten minutes of one core). The data ship with scikit-learn: 442
patients, ten measurements of each, and how far the disease had progressed a year later (Efron,
Hastie, Johnstone & Tibshirani, "Least angle regression", Annals of Statistics 32, 2004); nothing is
downloaded.

Taught in part_4/tutorial_03.
"""

import argparse
import json
import platform
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

PATIENTS = 442
FOLDS = 5
FOLD_SEED = 0
# name, exponents from .. to, steps per decade
AXES = (("C", -1.0, 4.0, 4), ("gamma", -5.0, 1.0, 4), ("epsilon", -1.0, 2.0, 2))
TABLE = Path(__file__).with_name("diabetes_svr.json")


@lru_cache(maxsize=1)
def _diabetes() -> tuple[Any, Any]:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return X, y


def held_out_predictions(regressor: Any) -> Any:
    """What a scikit-learn regressor predicts for each of the 442 patients when held out.

    Five folds, shuffled once with seed 0 and then fixed; the ten inputs are standardised on the
    four folds that train.

    Args:
        regressor: an object with ``fit`` and ``predict``.
    """
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = _diabetes()
    folds = KFold(n_splits=FOLDS, shuffle=True, random_state=FOLD_SEED)
    return cross_val_predict(make_pipeline(StandardScaler(), regressor), X, y, cv=folds)


def progress() -> Any:
    """The measured progress of each patient, the truth that predictions are compared with."""
    return _diabetes()[1]


def explained(predictions: Any) -> float:
    """R^2: the share of the patients' variance that predictions explain; 1 is perfect."""
    y = progress()
    return float(1.0 - ((predictions - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def support_vectors(C: float, gamma: float, epsilon: float) -> Any:
    """scikit-learn's `SVR` with an RBF kernel and these settings."""
    from sklearn.svm import SVR

    return SVR(C=C, gamma=gamma, epsilon=epsilon)


def grid(low: float, high: float, steps: int) -> list[float]:
    """Exponents from ``low`` to ``high``, ``steps`` to a decade (exact in binary)."""
    return [low + i / steps for i in range(round((high - low) * steps) + 1)]


def compute() -> dict[str, Any]:
    """The whole table with everything needed to recompute it."""
    import numpy
    import scipy
    import sklearn

    axes = {name: grid(low, high, steps) for name, low, high, steps in AXES}
    began = time.perf_counter()
    values = [
        [
            [
                round(explained(held_out_predictions(support_vectors(10**c, 10**g, 10**e))), 5)
                for e in axes["epsilon"]
            ]
            for g in axes["gamma"]
        ]
        for c in axes["C"]
    ]
    return {
        "what": "held-out R^2, by log10 C, log10 gamma, log10 epsilon",
        "command": "OMP_NUM_THREADS=1 python -m bolearn.data.diabetes_svr",
        "scheme": f"KFold(n_splits={FOLDS}, shuffle=True, random_state={FOLD_SEED}), "
        "StandardScaler() and SVR(kernel='rbf')",
        "patients": PATIENTS,
        "versions": {
            "python": platform.python_version(),
            "scikit-learn": sklearn.__version__,
            "numpy": numpy.__version__,
            "scipy": scipy.__version__,
        },
        "seconds": round(time.perf_counter() - began),
        **{f"log10_{name}": exponents for name, exponents in axes.items()},
        "explained": values,
    }


def main() -> None:
    """Recompute the table and write it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=TABLE, help="where to write the table")
    path = parser.parse_args().out
    table = compute()
    rows = ",\n  ".join(json.dumps(row) for row in table.pop("explained"))
    entries = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in table.items()]
    entries.append(f'"explained": [\n  {rows}\n ]')
    path.write_text("{\n " + ",\n ".join(entries) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
