"""What a message of events on NATS says of itself: in its subject whose it is, in a header its place in the feeds.

subject   blockyard.event.<user>.<graph>.<execution>
header    Blockyard-Feed: <partition> <before> <sequence>
"""

from dataclasses import dataclass

PLACE_HEADER = "Blockyard-Feed"
NO_GRAPH = "block"
"""Stands for the graph in the subject of a run of one block: NATS takes no empty word."""


@dataclass(frozen=True, slots=True)
class FeedPlace:
    """Where the turn that a message tells of stands in the feed of its partition."""

    partition: int
    before: int
    """Whoever has all up to here lacks nothing that comes before the message."""
    sequence: int

    def __str__(self) -> str:
        return f"{self.partition} {self.before} {self.sequence}"

    @classmethod
    def parse(cls, text: str) -> "FeedPlace | None":
        """From the value of the header; None for what is no place."""
        words = text.split(" ")
        if len(words) != 3 or not text.isascii() or not all(map(str.isdecimal, words)):
            return None
        return cls(*map(int, words))


def user_word(user_id: str) -> str:
    """A user's id as one word of a subject: it may hold dots, which part words, but no percent sign."""
    return user_id.replace(".", "%2E")


def user_of_word(word: str) -> str:
    """The user's id that such a word stands for."""
    return word.replace("%2E", ".")
