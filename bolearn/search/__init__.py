"""Maximising an acquisition: starts, batches, constraints, several ways to search."""
