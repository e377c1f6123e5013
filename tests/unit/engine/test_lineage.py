"""The index that finds what belongs together, against a list that is searched from end to end."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from services.execution.engine.lineage import AgreementIndex, Lineage, agree

NODE_OF = {1: 0, 2: 1, 3: 0, 4: 2, 5: 1, 6: 2}
"""Two executions of each of three nodes that fan out."""

lineages = st.dictionaries(st.sampled_from(sorted(NODE_OF)), st.integers(0, 2), max_size=4).map(
    lambda entries: tuple(sorted(entries.items()))
)
often = settings(max_examples=300, deadline=None)


@often
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "again", "remove", "look"]), st.integers(0, 20), lineages)))
def test_the_oldest_and_all_that_agree_are_found(steps: Sequence[tuple[str, int, Lineage]]) -> None:
    """Items come and go; some come back under their old order with another lineage, as sets do that grow."""
    index: AgreementIndex[str] = AgreementIndex(NODE_OF)
    held: dict[int, Lineage] = {}
    for order, (step, pick, lineage) in enumerate(steps):
        if step == "look":
            agreeing = sorted(each for each, known in held.items() if agree(known, lineage))
            assert index.all(lineage) == [f"item {each}" for each in agreeing]
            assert index.oldest(lineage) == (f"item {agreeing[0]}" if agreeing else None)
            continue
        kept = order
        if held and step != "add":
            kept = sorted(held)[pick % len(held)]
            index.remove(kept)
            del held[kept]
        if step != "remove":
            index.add(kept, lineage, f"item {kept}")
            held[kept] = lineage
        assert len(index) == len(held)


@often
@given(steps=st.lists(st.tuples(st.sampled_from(["add", "remove", "look"]), st.integers(0, 20), lineages)))
def test_the_latest_that_agrees_is_found(steps: Sequence[tuple[str, int, Lineage]]) -> None:
    index: AgreementIndex[str] = AgreementIndex(NODE_OF)
    held: dict[int, Lineage] = {}
    for order, (step, pick, lineage) in enumerate(steps):
        if step == "look":
            agreeing = max((each for each, known in held.items() if agree(known, lineage)), default=None)
            assert index.latest(lineage) == (None if agreeing is None else f"item {agreeing}")
        elif step == "add":
            index.add(order, lineage, f"item {order}")
            held[order] = lineage
        elif held:
            gone = sorted(held)[pick % len(held)]
            index.remove(gone)
            del held[gone]
