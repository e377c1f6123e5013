"""How pools of runners are named. A pool is a part of a subject and of a consumer's name on the bus."""

POOL = r"[a-z0-9][a-z0-9-]{0,62}"
"""The pattern of a whole name."""
