"""Settings of the graph service: environment variables with the prefix BLOCKYARD_."""

from pydantic import Field

from services.common.config import DatabaseSettings, ServiceSettings


class GraphSettings(ServiceSettings, DatabaseSettings):
    """What an operator can set. Times in seconds, sizes in bytes."""

    graph_nodes: int = Field(1_000, ge=1, description="Nodes of a graph at most")
    graph_links: int = Field(5_000, ge=1, description="Links of a graph at most")
    graph_bytes: int = Field(4 << 20, ge=1024, le=8 << 20, description="Size of a graph at most")
    # A Struct nests three messages for each level, and protobuf reads a hundred at most; a value is a level of its own.
    constant_depth: int = Field(24, ge=1, le=24, description="Nesting of a node's constants at most")
    user_presets: int = Field(1_000, ge=1, description="Presets of a user at most")
    preset_bytes: int = Field(1 << 20, ge=1024, le=4 << 20, description="Size of a preset's inputs at most")
    registration_interval: float = Field(
        15.0, gt=0, description="How often runners register; a block that is missed three times is unavailable"
    )
