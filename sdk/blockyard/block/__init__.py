"""The block SDK: what a block's author needs.

What runs blocks finds the rest in the modules `preparation`, `dynamic_pins`, `coercion`, `catalogue`, `loader` and
`testing`.
"""

from blockyard.block.block import Block, BlockOutput, Item, SyncBlockOutput
from blockyard.block.caching import CachePolicy
from blockyard.block.context import Context, LinkedTool
from blockyard.block.costs import BlockCost, BlockCostType, matching_cost
from blockyard.block.credentials import (
    ApiKeyCredentials,
    Credentials,
    HostScopedCredentials,
    OAuth2Credentials,
    UserPasswordCredentials,
)
from blockyard.block.description import BlockInfo, WebhookConfig
from blockyard.block.errors import (
    BlockDefinitionError,
    BlockError,
    BlockExecutionError,
    BlockInputError,
    BlockInterrupted,
    BlockOutputError,
)
from blockyard.block.fields import CredentialsField, CredentialsReference, SchemaField
from blockyard.block.kinds import BlockCategory, BlockType, Effect
from blockyard.block.requirements import CredentialsRequirement
from blockyard.block.retries import RetryPolicy
from blockyard.block.run_style import RunStyle
from blockyard.block.schema import BlockSchema
from blockyard.block.stored_values import ValueScope

__all__ = [
    "ApiKeyCredentials",
    "Block",
    "BlockCategory",
    "BlockCost",
    "BlockCostType",
    "BlockDefinitionError",
    "BlockError",
    "BlockExecutionError",
    "BlockInfo",
    "BlockInputError",
    "BlockInterrupted",
    "BlockOutput",
    "BlockOutputError",
    "BlockSchema",
    "BlockType",
    "CachePolicy",
    "Context",
    "Credentials",
    "CredentialsField",
    "CredentialsReference",
    "CredentialsRequirement",
    "Effect",
    "HostScopedCredentials",
    "Item",
    "LinkedTool",
    "OAuth2Credentials",
    "RetryPolicy",
    "RunStyle",
    "SchemaField",
    "SyncBlockOutput",
    "UserPasswordCredentials",
    "ValueScope",
    "WebhookConfig",
    "matching_cost",
]
