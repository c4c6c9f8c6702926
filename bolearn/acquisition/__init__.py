"""Acquisition functions: what is an evaluation at X worth, given what the model believes?

Each maps points ``*batch q d`` to values ``*batch`` and is maximised. Any other function of that
kind is an acquisition too, a lambda included.

| acquisition | use when | needs | a value costs |
|---|---|---|---|
| `LogExpectedImprovement` | the default for one point at a time | ``best_f`` | one posterior |
| `ExpectedImprovement` | teaching; its gradient vanishes far off | ``best_f`` | one posterior |
| `UpperConfidenceBound` | exploration is to be set by hand | ``beta`` | one posterior |
| `PosteriorMean` | the last evaluation, or a recommendation | | one posterior |
| `qLogExpectedImprovement` | q points at once, or several outputs | ``best_f`` | s joint draws |
"""
