"""A service that does nothing, as small as services get: what run.main makes of it is what is tested."""
