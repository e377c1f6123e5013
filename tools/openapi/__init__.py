"""The OpenAPI document of the REST face, made from proto/: `python -m tools.openapi write`, or `check` for drift.

`contract` reads the protos with their comments, `schemas` says how JSON of each message looks, `operations` makes of
each method and address an operation, `document` puts them together. `limits` and `examples` are what protos do not say.
"""
