"""The built-in blocks, one module a subject.

The modules know the SDK (`blockyard.block`) alone; the loader finds them through the entry point `blockyard.blocks`.
"""
