"""Optimisers that run where the tensors are: many starts, many replicates, one batch."""
