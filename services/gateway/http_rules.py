"""google.api.http as far as Blockyard knows it: one reader, for the edge and for the documents."""

import re
from collections.abc import Iterator

from google.api import annotations_pb2, http_pb2
from google.protobuf.descriptor_pb2 import MethodOptions

VERBS = ("get", "put", "post", "delete", "patch")
VARIABLE = re.compile(r"\{([^}]*)\}")


def http_rules(method: str, options: MethodOptions) -> Iterator[tuple[str, str, str]]:
    """Verb, path and body of each address of a method, as the proto writes them; none if it is not public."""
    if not options.HasExtension(annotations_pb2.http):
        return
    rule: http_pb2.HttpRule = options.Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        path: str = getattr(one, verb, "") if verb in VERBS else ""
        # A variable is one segment of the path, and the answer is the whole message.
        if not path or one.response_body or any("=" in variable for variable in VARIABLE.findall(path)):
            raise ValueError(f"{method}: Blockyard does not know this kind of address: {one}")
        yield verb, path, one.body
