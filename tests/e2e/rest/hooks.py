"""What schemathesis must know of Blockyard, for run.py, which has it load this module."""

import json
import os
from pathlib import Path
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure

from tests.e2e.rest.protobuf_json import fits

ANSWERS_FILE = "REST_ANSWERS_FILE"
"""Variable with the path of the file that each answer is noted in."""


@schemathesis.deserializer("application/x-ndjson")
def lines(context: schemathesis.DeserializationContext, response: schemathesis.Response) -> list[Any]:
    """A stream as the list of its objects."""
    return [json.loads(line) for line in response.content.splitlines() if line]


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: schemathesis.Case[Any], response: schemathesis.Response
) -> bool:
    """JSON of proto3 has several forms of a value, of which the document names one: the others may be taken too."""
    return not (isinstance(failure, AcceptedNegativeData) and fits(case))


@schemathesis.hook
def after_call(
    context: schemathesis.HookContext, case: schemathesis.Case[Any], response: schemathesis.Response
) -> None:
    """Note how an operation has answered."""
    with Path(os.environ[ANSWERS_FILE]).open("a") as file:
        file.write(f"{case.operation.definition.raw['operationId']} {response.status_code}\n")
