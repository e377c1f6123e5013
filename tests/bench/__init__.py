"""The bench: what a stack of two runners reaches, beside what PostgreSQL and NATS alone reach in the same run.

`python -m tests.bench` runs it. scenarios/ loads the stack, raw/ is the bare pipeline that it is compared with,
report.py says what came of it. Nothing here passes or fails by the clock: figures are for people to judge.
"""
