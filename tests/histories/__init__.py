"""Histories of executions as releases drove them. Every later release must come to the same by them (rule 14)."""
