"""A package of blocks that tell their secrets in every way they can."""
