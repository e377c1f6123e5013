"""Agent files name the pins of these blocks, and rely on what they are when nothing is given."""

from typing import Any

import pytest
from blockyard.block import Block

from blocks.ai.condition import AIConditionBlock
from blocks.ai.conversation import AIConversationBlock
from blocks.ai.lists import AIListGeneratorBlock
from blocks.ai.models import DEFAULT_MODEL
from blocks.ai.structured import AIStructuredResponseGeneratorBlock
from blocks.ai.summary import AITextSummarizerBlock, SummaryStyle
from blocks.ai.text import AIResponseBlock, AITextGeneratorBlock

# A pin without a default is required.
REQUIRED = object()
# Where files have credentials, ours may go without: the operator's key is used then.
ACCESS = {"model": DEFAULT_MODEL, "credentials": None}
OLLAMA = {"ollama_host": "localhost:11434"}

PINS: list[tuple[Block, str, dict[str, Any], list[str]]] = [
    (
        AIResponseBlock(),
        "4b3d4c5e-6f7a-8b9c-0d1e-2f3a4b5c6d7e",
        {
            "prompt": REQUIRED,
            "model": DEFAULT_MODEL,
            "system_prompt": "",
            "max_tokens": 1024,
            "temperature": 0.7,
            "json_format": False,
            "tools": [],
        },
        ["response", "usage", "model_used", "tool_calls"],
    ),
    (
        AIStructuredResponseGeneratorBlock(),
        "ed55ac19-356e-4243-a6cb-bc599e9b716f",
        {
            "prompt": REQUIRED,
            "expected_format": REQUIRED,
            "list_result": False,
            **ACCESS,
            "force_json_output": False,
            "sys_prompt": "",
            "conversation_history": [],
            "retry": 3,
            "prompt_values": {},
            "max_tokens": None,
            "compress_prompt_to_fit": True,
            **OLLAMA,
        },
        ["response", "prompt"],
    ),
    (
        AITextGeneratorBlock(),
        "1f292d4a-41a4-4977-9684-7c8d560b9f91",
        {
            "prompt": REQUIRED,
            **ACCESS,
            "sys_prompt": "",
            "retry": 3,
            "prompt_values": {},
            **OLLAMA,
            "max_tokens": None,
        },
        ["response", "prompt"],
    ),
    (
        AITextSummarizerBlock(),
        "a0a69be1-4528-491c-a85a-a4ab6873e3f0",
        {
            "text": REQUIRED,
            **ACCESS,
            "focus": "general information",
            "style": SummaryStyle.CONCISE,
            "max_tokens": 4096,
            "chunk_overlap": 100,
            **OLLAMA,
        },
        ["summary", "prompt"],
    ),
    (
        AIConversationBlock(),
        "32a87eab-381e-4dd4-bdb8-4c47151be35a",
        {"prompt": "", "messages": REQUIRED, **ACCESS, "max_tokens": None, **OLLAMA},
        ["response", "prompt"],
    ),
    (
        AIListGeneratorBlock(),
        "9c0b0450-d199-458b-a731-072189dd6593",
        {
            "focus": None,
            "source_data": None,
            **ACCESS,
            "max_retries": 3,
            "force_json_output": False,
            "max_tokens": None,
            **OLLAMA,
        },
        ["generated_list", "list_item", "prompt"],
    ),
    (
        AIConditionBlock(),
        "553ec5b8-6c45-4299-8d75-b394d05f72ff",
        {"input_value": REQUIRED, "condition": REQUIRED, "yes_value": None, "no_value": None, **ACCESS},
        ["result", "yes_output", "no_output"],
    ),
]


@pytest.mark.parametrize(("block", "block_id", "inputs", "outputs"), PINS, ids=lambda value: getattr(value, "name", ""))
def test_pins_are_those_that_files_name(
    block: Block, block_id: str, inputs: dict[str, Any], outputs: list[str]
) -> None:
    fields = block.input_schema.model_fields
    defaults = {
        name: REQUIRED if field.is_required() else field.get_default(call_default_factory=True, validated_data={})
        for name, field in fields.items()
    }

    assert block.id == block_id
    assert defaults == inputs
    assert set(block.output_schema.model_fields) == {*outputs, "error"}
