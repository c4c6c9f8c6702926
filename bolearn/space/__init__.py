"""What may be run: parameters with units, steps and categories, and linear constraints on them."""
