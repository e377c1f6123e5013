"""The REST face tried from its own document."""
