"""Blocks that misbehave on purpose; the runners of a chaos run load this package beside the built-in blocks."""
