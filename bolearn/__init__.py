"""Bayesian optimisation with a replicate axis: the companion package of the course."""
