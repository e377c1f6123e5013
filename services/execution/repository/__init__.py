"""All SQL of the execution service: executions and their commands, turns, leases, retention."""
