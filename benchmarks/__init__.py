"""How fast and how good bolearn is beside BoTorch, measured in one interleaved run."""
