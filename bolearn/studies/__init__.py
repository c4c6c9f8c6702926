"""Replicated studies: many runs of every method as one batch, paired by design."""
