"""What can go wrong, as one family of exceptions.

Every message says what was expected, what came, and what to do. All errors derive from
`BolearnError`, so ``except bolearn.BolearnError`` catches whatever this package raises on purpose.
Warnings derive from `BolearnWarning`.
"""


class BolearnError(Exception):
    """Base class of every error that bolearn raises on purpose.

    `result` is what was finished before: a study puts the strategies there that did not raise.
    """

    result: object = None


class ShapeError(BolearnError, ValueError):
    """A tensor has the wrong rank, size, or replicate axes."""


class DataError(BolearnError, ValueError):
    """A value is not usable: NaN or infinite data, float32, inverted bounds, an unknown name."""


class NotFittedError(BolearnError, RuntimeError):
    """Something was asked of a model that only a fitted model can answer."""


class FitError(BolearnError, RuntimeError):
    """Every attempt to fit a model failed."""


class NumericsError(BolearnError, ArithmeticError):
    """A computation lost its meaning in floating point (a matrix far from positive definite)."""


class OptimizationError(BolearnError, RuntimeError):
    """An optimiser could not produce a usable point."""


class InfeasibleError(BolearnError, ValueError):
    """No point satisfies the given constraints."""


class UnsupportedError(BolearnError, NotImplementedError):
    """A combination with a meaning but no implementation here; the message names the way out."""


class StorageError(BolearnError, RuntimeError):
    """A stored result or campaign cannot be read or written."""


class BudgetError(BolearnError, RuntimeError):
    """A campaign's budget leaves nothing to ask for."""


class BolearnWarning(UserWarning):
    """Base class of every warning of this package: a result that came with a reservation."""


class FitWarning(BolearnWarning):
    """A fit was stopped by its limit on iterations before it had converged."""
