"""Lineage: which item of which fan-out a value stems from (DESIGN 4, "Tokens").

A lineage is a tuple of (number of the node execution that fanned out, index of the item), sorted by number. A fan-out
inside another has the higher number, so this is outermost first.
"""

import heapq
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

Lineage = tuple[tuple[int, int], ...]

CONFLICT = -1
"""Index of an entry that two in-cycle values disagree about: the item is nobody's."""


def agree(one: Lineage, other: Lineage) -> bool:
    """True if every node execution that stands in both has the same index in both."""
    if not one or not other or one == other:
        return True
    indices = dict(one)
    return all(indices.get(number, index) == index for number, index in other)


def union(one: Lineage, other: Lineage) -> Lineage:
    """The entries of both, which must agree."""
    if not other or one == other:
        return one
    if not one:
        return other
    return tuple(sorted({**dict(one), **dict(other)}.items()))


def union_weak(one: Lineage, other: Lineage) -> Lineage:
    """The entries of both; where they differ, CONFLICT."""
    if not other or one == other:
        return one
    if not one:
        return other
    merged = dict(one)
    for number, index in other:
        merged[number] = index if merged.get(number, index) == index else CONFLICT
    return tuple(sorted(merged.items()))


def strengthen(lineage: Lineage, weak: Lineage) -> Lineage:
    """The lineage with the weak entries that it says nothing about and that are not in conflict."""
    if not weak:
        return lineage
    known = dict(lineage)
    return union(lineage, tuple(entry for entry in weak if entry[0] not in known and entry[1] != CONFLICT))


Item = TypeVar("Item")


class _Branch:
    """A place in a trie: the orders of the items whose lineage ends here, and the ways further in."""

    __slots__ = ("branches", "items", "orders")

    def __init__(self) -> None:
        self.items: dict[int, None] = {}
        self.orders: list[int] = []
        self.branches: dict[int, dict[int, _Branch]] = {}

    def oldest(self) -> int | None:
        while self.orders and self.orders[0] not in self.items:
            heapq.heappop(self.orders)
        return self.orders[0] if self.orders else None


def _push(orders: list[int], order: int, known: Mapping[int, object]) -> None:
    """Adds to a heap of orders. Those that are known no more are swept out when they are the most of it."""
    heapq.heappush(orders, order)
    if len(orders) > 64 + 2 * len(known):
        orders[:] = sorted(known)


class _Trie:
    """Orders by lineage. A look-up takes the one matching way wherever it knows the node execution of a branch, and all
    ways where it does not."""

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root = _Branch()

    def add(self, order: int, lineage: Lineage) -> None:
        branch = self._root
        for number, index in lineage:
            ways = branch.branches.setdefault(number, {})
            branch = ways.get(index) or ways.setdefault(index, _Branch())
        branch.items[order] = None
        _push(branch.orders, order, branch.items)

    def remove(self, order: int, lineage: Lineage) -> None:
        """Takes it out, and the ways that lead nowhere any more."""
        path = [self._root]
        for number, index in lineage:
            path.append(path[-1].branches[number][index])
        del path[-1].items[order]
        for depth in range(len(lineage), 0, -1):
            if path[depth].items or path[depth].branches:
                break
            number, index = lineage[depth - 1]
            ways = path[depth - 1].branches[number]
            del ways[index]
            if not ways:
                del path[depth - 1].branches[number]

    def agreeing(self, lineage: Lineage) -> Iterator[_Branch]:
        indices = dict(lineage)
        waiting = [self._root]
        while waiting:
            branch = waiting.pop()
            if branch.items:
                yield branch
            for number, ways in branch.branches.items():
                index = indices.get(number)
                if index is None:
                    waiting.extend(ways.values())
                elif index in ways:
                    waiting.append(ways[index])


Shape = frozenset[int]
"""The nodes whose fan-outs a value stems from. There are few: the links of a plan decide them."""


class AgreementIndex(Generic[Item]):
    """Items by their order (age), found by agreement of lineage without looking at those that cannot agree.

    Only a fan-out that both stem from can keep an item and a value apart. So for each shape of the values that come to
    be looked up there is a trie of what the items' lineages say about that shape, and a look-up knows its way through.
    Joining costs a few steps an item, however many wait, be they of one fan-out or of several independent ones.
    """

    __slots__ = ("_items", "_node_of", "_orders", "_tries")

    def __init__(self, node_of: Mapping[int, int]) -> None:
        """`node_of` tells the node of each node execution that stands in a lineage."""
        self._node_of = node_of
        self._items: dict[int, tuple[Lineage, Item]] = {}
        self._orders: list[int] = []
        self._tries: dict[Shape, _Trie] = {}

    def __len__(self) -> int:
        return len(self._items)

    def add(self, order: int, lineage: Lineage, item: Item) -> None:
        """Puts an item in, under its order, which is unique."""
        self._items[order] = (lineage, item)
        _push(self._orders, order, self._items)
        for shape, trie in self._tries.items():
            trie.add(order, self._part(lineage, shape))

    def remove(self, order: int) -> None:
        """Takes the item of this order out."""
        lineage, _ = self._items.pop(order)
        for shape, trie in self._tries.items():
            trie.remove(order, self._part(lineage, shape))

    def oldest(self, lineage: Lineage) -> Item | None:
        """The item with the lowest order that agrees."""
        while self._orders and self._orders[0] not in self._items:
            heapq.heappop(self._orders)
        if not self._orders:
            return None
        known, first = self._items[self._orders[0]]
        if agree(known, lineage):
            return first
        orders = (branch.oldest() for branch in self._agreeing(lineage))
        found = min((order for order in orders if order is not None), default=None)
        return None if found is None else self._items[found][1]

    def latest(self, lineage: Lineage) -> Item | None:
        """The item with the highest order that agrees. Only for items that were added in their order."""
        last = next(reversed(self._items), None)
        if last is None:
            return None
        known, item = self._items[last]
        if agree(known, lineage):
            return item
        found = max((next(reversed(branch.items)) for branch in self._agreeing(lineage)), default=None)
        return None if found is None else self._items[found][1]

    def all(self, lineage: Lineage) -> list[Item]:
        """Every item that agrees, oldest first."""
        found = [order for branch in self._agreeing(lineage) for order in branch.items]
        return [self._items[order][1] for order in sorted(found)]

    def _agreeing(self, lineage: Lineage) -> Iterator[_Branch]:
        shape = frozenset(self._node_of[number] for number, _ in lineage)
        trie = self._tries.get(shape)
        if trie is None:
            trie = self._tries[shape] = _Trie()
            for order, (known, _) in self._items.items():
                trie.add(order, self._part(known, shape))
        return trie.agreeing(lineage)

    def _part(self, lineage: Lineage, shape: Shape) -> Lineage:
        return tuple(entry for entry in lineage if self._node_of[entry[0]] in shape)
