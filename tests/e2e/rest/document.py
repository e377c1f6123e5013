"""The document as the tests read it: an answer may hold what the document names and nothing else."""

import copy
from typing import Any

from tools.openapi.operations import STREAM

Json = dict[str, Any]
IGNORED = "Output only"


def closed(document: Json) -> Json:
    """The document without room for fields of later releases, with streams as lists of their objects, and with examples
    that may be sent again."""
    changed = copy.deepcopy(document)
    for name, schema in changed["components"]["schemas"].items():
        if schema.get("type") == "object" and schema.get("properties") is not None and name != "Error":
            schema["additionalProperties"] = False
    for verbs in changed["paths"].values():
        for operation in verbs.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.get("example", {}).pop("requestId", None)
            for response in operation["responses"].values():
                for media_type, content in response.get("content", {}).items():
                    if media_type == STREAM:
                        content["schema"] = {"type": "array", "items": content["schema"]}
    return changed


def leave_out_ignored(document: Json) -> None:
    """Take out of requests what no service reads in them: most of the ways to be wrong are in there."""
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Input"):
            fields = schema["properties"]
            for field in [field for field, of in fields.items() if of.get("description", "").startswith(IGNORED)]:
                del fields[field]
