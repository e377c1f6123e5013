"""The document: everything put together, and written the same way each time."""

import json
import tomllib
from typing import Any

from tools.openapi import errors
from tools.openapi.contract import ROOT, Contract
from tools.openapi.operations import operations
from tools.openapi.schemas import Schemas

DESCRIPTION = """
Blockyard runs workflows of blocks. This is its REST face: every method of its gRPC services, under the path that the
contract gives it. Whatever works here works over gRPC too.

**Who calls.** Each call carries a token or an API key: `Authorization: Bearer <token>`.

**JSON** is that of proto3. Names are written in camelCase. What is 0, false or empty is left out of answers, and null
in a request is the same as leaving the field out; no body is the same as `{}`. 64-bit integers are text in answers,
since JavaScript would round them, and text or numbers (up to 2^53) in requests. Times are RFC 3339 in UTC, durations
seconds with an `s`, bytes base64. Enums are written by name; `..._UNSPECIFIED` is the same as leaving the field out. A
field or parameter that is not known is refused.

**Updates** change the fields that `updateMask` names, a text of names with commas, or `*` for all of them. Without it
they change the fields that the request sets: one that is 0, false or empty is changed only if it is named.

**Values** of a graph are JSON. `inputs`, `outputs` and `results` are easy to read, and round integers above 2^53; the
fields with `Json` at the end hold the same as base64 of JSON text, integers exact.

**Pages.** A list takes `pageSize` and `pageToken`; `nextPageToken` of an answer is the token for the next page.

**Repeating.** A call that takes a `requestId` may be repeated with the same one: it is done once.

**Errors** have the body of `Error` with a stable `reason`.

**Streams** are JSON objects, one a line (`application/x-ndjson`).
""".strip()


def document(contract: Contract) -> dict[str, Any]:
    """The document as JSON."""
    schemas = Schemas(contract)
    paths = operations(contract.services, schemas)
    of_errors = errors.components(contract.pool.FindEnumTypeByName(errors.REASONS), contract.comments)
    if clashes := of_errors["schemas"].keys() & schemas.components.keys():
        raise ValueError(f"Messages have the names of schemas of errors: {', '.join(sorted(clashes))}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Blockyard",
            "version": _version(),
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "Where this document came from."}],
        "security": [{"token": []}],
        "tags": [{"name": service.name, "description": service.comment} for service in contract.services],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A JSON web token, or an API key of CreateApiKey.",
                }
            },
            "headers": of_errors["headers"],
            "responses": of_errors["responses"],
            "schemas": dict(sorted((schemas.components | of_errors["schemas"]).items())),
        },
    }


def written(contract: Contract) -> str:
    """The document as text, the same for the same contract."""
    return json.dumps(document(contract), indent=1, ensure_ascii=False) + "\n"


def _version() -> str:
    version: str = tomllib.loads((ROOT / "sdk" / "pyproject.toml").read_text())["project"]["version"]
    return version
