"""Surrogates: models of the unknown function that answer with a posterior."""
