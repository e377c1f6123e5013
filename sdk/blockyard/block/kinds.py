"""What kinds of blocks there are: how the engine treats one, what a repeat of it would do, and what it is about.

The numbers of `BlockType` and `Effect` are those of `blockyard.graph.v1`.
"""

from enum import Enum, IntEnum


class BlockType(IntEnum):
    """How the engine treats a block."""

    STANDARD = 1
    INPUT = 2
    OUTPUT = 3
    NOTE = 4
    WEBHOOK = 5
    WEBHOOK_MANUAL = 6
    AGENT = 7
    AI = 8
    HUMAN_IN_THE_LOOP = 9
    COLLECT = 10


class Effect(IntEnum):
    """What a repeat of a run would do outside: PURE for blocks that only compute, ONCE for those that send or pay."""

    PURE = 1
    IDEMPOTENT = 2
    ONCE = 3


class BlockCategory(Enum):
    """What a block is about; the value is the category's sentence."""

    AI = "Blocks that ask a model or use another kind of artificial intelligence."
    SOCIAL = "Blocks that work with social networks."
    TEXT = "Blocks that work on text."
    SEARCH = "Blocks that search the web or other sources."
    BASIC = "Blocks that nearly every graph uses."
    INPUT = "Blocks that take an input of the graph."
    OUTPUT = "Blocks that give a result of the graph."
    LOGIC = "Blocks that decide, compare, repeat and calculate."
    COMMUNICATION = "Blocks that send and receive messages."
    DEVELOPER_TOOLS = "Blocks for the work of software developers."
    DATA = "Blocks that work on structured data."
    HARDWARE = "Blocks that work with devices."
    AGENT = "Blocks that run other graphs."
    CRM = "Blocks that work with customer relationship systems."
    SAFETY = "Blocks that check content and guard against harm."
    PRODUCTIVITY = "Blocks that work with calendars, documents and tasks."
    ISSUE_TRACKING = "Blocks that work with issue trackers."
    MULTIMEDIA = "Blocks that work with pictures, sound and video."
    MARKETING = "Blocks for marketing and sales."

    @property
    def description(self) -> str:
        """The category's sentence."""
        return self.value
