"""The block SDK: what a block's author needs.

What runs blocks finds the rest in the modules `preparation`, `dynamic_pins`, `coercion`, `catalogue`, `loader` and
`testing`.
"""

from blockyard.block.block import Block, BlockOutput, Item, SyncBlockOutput
from blockyard.block.context import Context
from blockyard.block.costs import BlockCost, BlockCostType, matching_cost
from blockyard.block.description import BlockInfo, WebhookConfig
from blockyard.block.errors import (
    BlockDefinitionError,
    BlockError,
    BlockExecutionError,
    BlockInputError,
    BlockOutputError,
)
from blockyard.block.fields import CredentialsField, CredentialsReference, SchemaField
from blockyard.block.kinds import BlockCategory, BlockType, Effect
from blockyard.block.retries import RetryPolicy
from blockyard.block.run_style import RunStyle
from blockyard.block.schema import BlockSchema, CredentialsRequirement

__all__ = [
    "Block",
    "BlockCategory",
    "BlockCost",
    "BlockCostType",
    "BlockDefinitionError",
    "BlockError",
    "BlockExecutionError",
    "BlockInfo",
    "BlockInputError",
    "BlockOutput",
    "BlockOutputError",
    "BlockSchema",
    "BlockType",
    "Context",
    "CredentialsField",
    "CredentialsReference",
    "CredentialsRequirement",
    "Effect",
    "Item",
    "RetryPolicy",
    "RunStyle",
    "SchemaField",
    "SyncBlockOutput",
    "WebhookConfig",
    "matching_cost",
]
