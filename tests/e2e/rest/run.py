"""Runs schemathesis against an edge, from the document that the services serve, with objects that are there.

Most requests carry a user's token. Those of administrators carry an administrator's, and may change nobody but a
bystander: the stack may have other users, who must not lose their access. Left out are the stream that has no end,
since schemathesis reads to the end (see test_rest_contract.py), and the test of a webhook, which takes as long as the
name server of a machine does to know no such receiver.
"""

import asyncio
import json
import os
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from blockyard.dev import Stack

from services.notification.web.documentation import DOCUMENT
from tests.e2e.rest.document import closed, leave_out_ignored
from tests.e2e.rest.hooks import ANSWERS_FILE
from tools.openapi.examples import GRAPH_ID, GRAPH_OF_HOOKS_ID, RECEIVER, REQUESTS

ROOT = Path(__file__).parents[3]
USER, ADMINISTRATOR, BYSTANDER = "fuzzing-user", "fuzzing-administrator", "fuzzing-bystander"
LEFT_OUT = ("subscribe", "testWebhook")
ALIKE = (
    "validateGraph",
    "updateGraph",
    "updatePreset",
    "createPreset_2",
    "startExecution_2",
    "updateSchedule",
    "updateTrigger",
    "updateWebhook",
)
"""Operations with the body of another one: what is wrong with each field of it is tried there."""
OF_ADMINISTRATORS = "^/api/(admin|users)"
GIVEN = 0.8
"""How often something that is there stands in a path; else it is whatever the document allows there."""
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "ignored_auth",
    "use_after_free",
)

REFUSALS = (400, 401, 402, 403, 404, 405, 409, 413, 415, 429, 431)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run has ended."""

    passed: bool
    output: str
    """All that schemathesis has said."""
    answers: Mapping[str, Counter[int]]
    """How often each operation has answered with which status."""

    @property
    def summary(self) -> str:
        """The last part of it."""
        return self.output[self.output.rfind("= SUMMARY =") :]


async def run(stack: Stack, folder: Path, options: Sequence[str] = (), *, brief: bool = False) -> Outcome:
    """Try the REST face of a stack; further options are those of `schemathesis run`. Brief is for every day."""
    async with httpx2.AsyncClient(base_url=stack.edge.url, timeout=30) as client:
        objects = await _objects(client, stack)
    text = DOCUMENT.read_text(encoding="utf-8")
    document = closed(json.loads(_with_real(text, str(objects["graphId"][0]), str(objects["graphId"][-1]))))
    if brief:
        leave_out_ignored(document)
    (folder / "openapi.json").write_text(json.dumps(document))
    (folder / "schemathesis.toml").write_text(_configuration(stack, objects, brief))
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": "tests.e2e.rest.hooks",
        "PYTHONPATH": str(ROOT),
        ANSWERS_FILE: str(folder / "answers"),
    }
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "--config-file",
        "schemathesis.toml",
        "run",
        "openapi.json",
    ]
    process = await asyncio.create_subprocess_exec(
        *command,
        *(option for name in LEFT_OUT for option in ("--exclude-operation-id", name)),
        *options,
        cwd=folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Outcome(process.returncode == 0, output.decode(), _answers(folder / "answers"))


async def _objects(client: httpx2.AsyncClient, stack: Stack) -> Mapping[str, Sequence[str | int]]:
    """Things that are there, by the names that paths have for them."""
    client.headers["authorization"] = f"Bearer {stack.user_token(BYSTANDER, 'user')}"
    await _called(client, "GET", "/api/user")
    client.headers["authorization"] = f"Bearer {stack.user_token(USER, 'user')}"
    graphs = [(await _called(client, "POST", "/api/graphs", "CreateGraph"))["graph"]["id"] for _ in range(3)]
    start = f"/api/graphs/{graphs[0]}/execute/1"
    executions = [(await _called(client, "POST", start, "RunShout"))["execution"]["id"] for _ in range(2)]
    credential = await _called(client, "POST", "/api/credentials", "CreateCredential")
    key = await _called(client, "POST", "/api/user/api-keys", "CreateApiKey")
    preset = await _called(client, "POST", "/api/presets", "CreatePreset", graphs[0])
    schedule = await _called(client, "POST", "/api/schedules", "CreateSchedule", graphs[0])
    hooked = (await _called(client, "POST", "/api/graphs", "CreateGraphOfHooks"))["graph"]["id"]
    trigger = await _called(client, "POST", "/api/triggers", "CreateTrigger", hooked)
    webhook = await _called(client, "POST", "/api/webhooks", "CreateWebhook")
    return {
        "graphId": [*graphs, hooked],
        "executionId": executions,
        "credentialId": [credential["credential"]["id"]],
        "apiKeyId": [key["apiKey"]["id"]],
        "presetId": [preset["preset"]["id"]],
        "triggerId": [trigger["trigger"]["id"]],
        "webhookId": [webhook["webhook"]["id"]],
        "scheduleId": [schedule["schedule"]["id"]],
        "blockId": ["TextProcessingBlock", "AddToListBlock"],
        "graphVersion": [0, 1],
        "nodeExecution": [1, 2],
        "userId": [BYSTANDER],
    }


BODIES: Mapping[str, Any] = {
    **REQUESTS,
    "RunShout": {"inputs": {"text": "hello"}},
    "CreateGraphOfHooks": {
        "name": "hooked",
        "nodes": [
            {"id": "payload", "blockId": "AgentInputBlock", "inputs": {"name": "payload"}},
            {"id": "result", "blockId": "AgentOutputBlock", "inputs": {"name": "result"}},
        ],
        "links": [{"sourceNodeId": "payload", "sourcePin": "result", "sinkNodeId": "result", "sinkPin": "value"}],
    },
}


async def _called(client: httpx2.AsyncClient, verb: str, path: str, body: str = "", graph_id: str = "") -> Json:
    sent = _with_real(json.dumps(BODIES[body]), graph_id, graph_id) if body else None
    answer = await client.request(verb, path, content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 200, f"{verb} {path}: {answer.status_code} {answer.text}"
    content: Json = answer.json()
    return content


def _with_real(text: str, graph_id: str, of_hooks: str) -> str:
    """Examples with graphs that there are, and with a receiver that there is not: nothing is sent to anybody."""
    real = {GRAPH_ID: graph_id, GRAPH_OF_HOOKS_ID: of_hooks, RECEIVER: "receiver.invalid"}
    for example, name in real.items():
        text = text.replace(example, name)
    return text


def _configuration(stack: Stack, objects: Mapping[str, Sequence[str | int]], brief: bool) -> str:
    user, administrator = (stack.user_token(USER, "user"), stack.user_token(ADMINISTRATOR, "admin"))
    lines = [
        f'base-url = "{stack.edge.url}"',
        "continue-on-failure = true",
        "request-timeout = 20",
        "color = false",
        "[output]",
        "sanitization.enabled = false",
        "truncation.enabled = false",
        "[headers]",
        f'Authorization = "Bearer {user}"',
        "[generation]",
        "deterministic = true",
        "[checks]",
        "enabled = false",
        *(f"{name}.enabled = true" for name in CHECKS),
        f"negative_data_rejection.expected-statuses = {list(map(str, REFUSALS))}",
        *(f"[dictionaries.{name}]\nvalues = {json.dumps(values)}" for name, values in objects.items()),
        "[parameters]",
        *(f'"path.{name}" = {{ dictionary = "{name}", probability = {GIVEN} }}' for name in objects),
        "[[operations]]",
        f'include-path-regex = "{OF_ADMINISTRATORS}"',
        f'headers = {{ Authorization = "Bearer {administrator}" }}',
        f'parameters = {{ "path.userId" = "{BYSTANDER}" }}',
    ]
    if brief:
        lines += ["[[operations]]", f"include-operation-id = {json.dumps(ALIKE)}", "phases.coverage.enabled = false"]
        lines += ["[phases]", "coverage.unexpected-methods = []"]  # tests/integration/gateway has them
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    return text


def _answers(file: Path) -> Mapping[str, Counter[int]]:
    found: dict[str, Counter[int]] = {}
    for line in file.read_text().splitlines() if file.exists() else []:
        name, status = line.split()
        found.setdefault(name, Counter())[int(status)] += 1
    return found
