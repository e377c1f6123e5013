"""Finding blocks in a snapshot of the catalogue."""

from services.graph.catalogue import Snapshot
from tests.unit.graph.building import TEXT, block, block_id

BLOCKS = [
    block("ZebraBlock", {}, {}, description="Counts stripes in a picture", categories=["MULTIMEDIA"]),
    block("AppleBlock", {"a": TEXT}, {}, description="Peels fruit", categories=["BASIC", "DATA"]),
    block("PearBlock", {}, {}, description="Also peels FRUIT", categories=["DATA"], disabled=True),
]


def names(query: str = "", category: str = "") -> list[str]:
    return [found.name for found in Snapshot.of(BLOCKS).search(query, category)]


def test_blocks_are_listed_by_name() -> None:
    assert names() == ["AppleBlock", "PearBlock", "ZebraBlock"]


def test_every_word_of_a_search_must_be_there_in_any_case_and_place() -> None:
    assert names("peels fruit") == ["AppleBlock", "PearBlock"]
    assert names("PEAR fruit") == ["PearBlock"]
    assert names("data apple") == ["AppleBlock"]
    assert names("stripes fruit") == []


def test_a_category_is_matched_as_a_whole() -> None:
    assert names(category="DATA") == ["AppleBlock", "PearBlock"]
    assert names(category="DAT") == []


def test_a_block_is_found_by_id_and_by_name() -> None:
    snapshot = Snapshot.of(BLOCKS)
    assert [found.name for found in snapshot.find(block_id("AppleBlock"))] == ["AppleBlock"]
    assert [found.id for found in snapshot.find("AppleBlock")] == [block_id("AppleBlock")]
    assert snapshot.find("apple") == []


def test_of_blocks_of_one_name_the_available_one_is_meant() -> None:
    successor = block("PearBlock", {}, {})
    successor.id = block_id("successor")
    assert [found.id for found in Snapshot.of([*BLOCKS, successor]).find("PearBlock")] == [successor.id]
