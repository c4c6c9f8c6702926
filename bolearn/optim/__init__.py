"""Plain numerical optimisers: they minimise any function of rows and know of no model."""
