"""Blockyard's package for users: client, block SDK, event subscriber, CLI, and the stubs of the contract."""
