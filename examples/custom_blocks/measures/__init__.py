"""Blocks that read and convert measures, one module a subject."""
