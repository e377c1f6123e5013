"""The built-in blocks load, and those of our own keep their ids; those of AutoGPT stand in test_interfaces.py."""

import pytest
from blockyard.block.loader import load_blocks

CATALOGUE = load_blocks(packages=["blocks"], entry_points=False)

# Files name blocks by id: none may change.
IDS = {
    "AIResponseBlock": "4b3d4c5e-6f7a-8b9c-0d1e-2f3a4b5c6d7e",
    "AISchemaResponseBlock": "147d1b2a-5e64-4d40-b7fb-3b39a70fe6c5",
    "AITextStreamBlock": "06ed7594-6999-4b22-8448-5e136631a298",
    "CodeExecutionBlock": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "CollectBlock": "8e694bbe-7b0d-4beb-98e6-3c78260c54fd",
    "DelayBlock": "a0c3c6a6-c8de-4cd4-b111-4e0aeadb7c12",
    "FormulaBlock": "fa6454f2-b103-4655-b99c-6e105ecb7a10",
    "GroupListBlock": "2208bfa8-9e6e-4899-8e23-b249e7a92f5d",
    "NoOperationBlock": "4594a888-9656-44d3-a524-054c409262f7",
    "RangeBlock": "1a8515ec-05bf-4341-8726-1f32517f4b2e",
    "SliceListBlock": "85db303e-d5f4-4fad-872a-a5399804324f",
    "SortListBlock": "44452d58-6b57-4232-8dc5-07ff0d617cb9",
    "TextProcessingBlock": "72ce781f-9da9-49fe-b719-5c553613975e",
}


def test_all_modules_load() -> None:
    assert CATALOGUE.errors == []


@pytest.mark.parametrize("name", IDS)
def test_id_is_the_one_that_files_name(name: str) -> None:
    assert CATALOGUE.by_name[name].id == IDS[name]
