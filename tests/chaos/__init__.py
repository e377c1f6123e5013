"""The chaos run: mixed executions under kill -9, freezes and a wiped JetStream, with every outcome checked.

`python -m tests.chaos --seed N`. traffic.py starts executions, faults.py does the harm, histories.py records what
became of each, judging.py compares that with what shapes.py expects, report.py says it.
"""
