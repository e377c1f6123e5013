"""What the main methods are sent and answer with. A test reads each as the method's message and by its schema."""

import base64
import json
from collections.abc import Mapping
from typing import Any

GRAPH_ID = "1f3f4c9e-6c57-4e0b-9a0e-2f4ad3f6b1c2"
GRAPH_OF_HOOKS_ID = "7d0c5b7e-2f9a-4a53-8f60-9b1f0f6ce3d4"
"""A graph with an input `payload`."""
RECEIVER = "receiver.example.com"
EXECUTION_ID = "019a3c1e-7b1a-7c55-8a43-52a1f5d0c9aa"
INPUT, UPPER, OUTPUT = "AgentInputBlock", "TextProcessingBlock", "AgentOutputBlock"

GRAPH: Mapping[str, Any] = {
    "name": "shout",
    "nodes": [
        {"id": "text", "blockId": INPUT, "inputs": {"name": "text"}},
        {"id": "upper", "blockId": UPPER, "inputs": {"operation": "upper"}},
        {"id": "result", "blockId": OUTPUT, "inputs": {"name": "result"}},
    ],
    "links": [
        {"sourceNodeId": "text", "sourcePin": "result", "sinkNodeId": "upper", "sinkPin": "text"},
        {"sourceNodeId": "upper", "sourcePin": "processed_text", "sinkNodeId": "result", "sinkPin": "value"},
    ],
}

_EXECUTION: Mapping[str, Any] = {
    "id": EXECUTION_ID,
    "graphId": GRAPH_ID,
    "graphVersion": 1,
    "userId": "ada",
    "status": "EXECUTION_STATUS_RUNNING",
    "inputs": {"text": "hello"},
    "labels": {"source": "docs"},
    "createTime": "2026-11-22T09:30:00.123456Z",
    "startTime": "2026-11-22T09:30:00.130Z",
    "nodeExecutions": "3",
    "lastEventSequence": "5",
}

_FILE = base64.b64encode(json.dumps(GRAPH).encode()).decode()

REQUESTS: Mapping[str, Any] = {
    "CreateGraph": GRAPH,
    "ValidateGraph": GRAPH,
    "UpdateGraph": {"name": "shout it out"},
    "ForkGraph": {"name": "shout again"},
    "SetActiveVersion": {"version": 1},
    "StartExecution": {"inputs": {"text": "hello"}, "labels": {"source": "docs"}, "requestId": "order-4711"},
    "StopExecution": {},
    "StopExecutions": {"graphId": GRAPH_ID},
    "ResumeNode": {"decision": "DECISION_APPROVE", "message": "Looks good."},
    "RunBlock": {"inputs": {"text": "hello", "operation": "upper"}},
    "CreatePreset": {"graphId": GRAPH_ID, "name": "as usual", "inputs": {"text": "hello"}},
    "UpdatePreset": {"name": "as always"},
    "ImportGraph": {"file": _FILE, "format": "GRAPH_FILE_FORMAT_JSON"},
    "CreateSchedule": {
        "name": "every morning",
        "cron": "0 7 * * 1-5",
        "timeZone": "Europe/Berlin",
        "start": {"graphId": GRAPH_ID, "inputs": {"text": "hello"}},
    },
    "UpdateSchedule": {"name": "every working day"},
    "CreateTrigger": {
        "name": "a push",
        "kind": "TRIGGER_KIND_GENERIC",
        "start": {"graphId": GRAPH_OF_HOOKS_ID},
    },
    "UpdateTrigger": {"name": "every push"},
    "RotateTriggerSecret": {"keepPrevious": "3600s"},
    "CreateWebhook": {"url": f"https://{RECEIVER}/blockyard", "description": "tells the shop"},
    "UpdateWebhook": {"description": "tells the new shop"},
    "CreateCredential": {
        "provider": "acme",
        "title": "Acme, production",
        "secret": {"apiKey": "not-a-real-key-0123456789"},
    },
    "UpdateCredential": {"updateMask": "title", "title": "Acme, staging"},
    "UpdateUser": {"updateMask": "timeZone", "timeZone": "Europe/Berlin"},
    "CreateApiKey": {"name": "nightly import", "permissions": ["PERMISSION_READ_GRAPHS", "PERMISSION_RUN_EXECUTIONS"]},
    "CreateUser": {"userId": "grace", "name": "Grace", "role": "USER_ROLE_VIEWER"},
    "SetUserAccess": {"role": "USER_ROLE_USER"},
    "TopUpCredits": {"amount": "1000", "note": "a present"},
}
"""By the method's name; what stands in the path of an address is left out there."""

ANSWERS: Mapping[str, Any] = {
    "StartExecution": {"execution": _EXECUTION},
    "GetExecution": {"execution": _EXECUTION},
    "GetExecutionResults": {"status": "EXECUTION_STATUS_COMPLETED", "results": {"result": ["HELLO"]}},
    "GetCredits": {"credits": {"userId": "ada", "balance": "990", "held": "5", "spent": "10", "enabled": True}},
    "ExplainExecution": {
        "execution": _EXECUTION,
        "summary": "It waits for upper: a runner of pool default. It is driven by replica execution-1.",
        "owner": "execution-1",
        "nextLookTime": "2026-11-22T09:31:00Z",
        "waiting": [{"nodeExecution": "2", "nodeId": "upper", "reason": "a runner of pool default"}],
    },
}
