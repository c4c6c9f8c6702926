"""The teaching kit's own errors; all are `bolearn.BolearnError` as well."""

from bolearn.errors import BolearnError, DataError


class ClaimError(BolearnError, AssertionError):
    """A claim made by a notebook is false; the message gives the numbers."""


class Violation(BolearnError, AssertionError):
    """A result breaks the statement that a check tests."""


class MissingGroup(BolearnError, ImportError):
    """A notebook needs optional packages that are not installed: it is skipped, not failed."""


class ExerciseError(DataError):
    """An exercise is unknown, or its file does not follow the format."""
