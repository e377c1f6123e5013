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


class _Branch(Generic[Item]):
    """A place in the trie: the items whose lineage ends here, and the ways further in."""

    __slots__ = ("branches", "items", "orders")

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self.orders: list[int] = []
        self.branches: dict[int, dict[int, _Branch[Item]]] = {}

    def oldest(self) -> int | None:
        while self.orders and self.orders[0] not in self.items:
            heapq.heappop(self.orders)
        return self.orders[0] if self.orders else None


def _push(orders: list[int], order: int, known: Mapping[int, object]) -> None:
    """Adds to a heap of orders. Those that are known no more are swept out when they are the most of it."""
    heapq.heappush(orders, order)
    if len(orders) > 64 + 2 * len(known):
        orders[:] = sorted(known)


class AgreementIndex(Generic[Item]):
    """Items by their order (age), found by agreement of lineage without looking at those that cannot agree.

    A trie over lineages: a look-up takes the one matching way wherever it knows the node execution of a branch, and all
    ways where it does not. Joining the branches of one fan-out costs a few steps an item, however many are waiting.
    """

    __slots__ = ("_lineages", "_orders", "_root")

    def __init__(self) -> None:
        self._root: _Branch[Item] = _Branch()
        self._lineages: dict[int, Lineage] = {}
        self._orders: list[int] = []

    def __len__(self) -> int:
        return len(self._lineages)

    def add(self, order: int, lineage: Lineage, item: Item) -> None:
        """Puts an item in, under its order, which is unique."""
        branch = self._root
        for number, index in lineage:
            ways = branch.branches.setdefault(number, {})
            branch = ways.get(index) or ways.setdefault(index, _Branch())
        branch.items[order] = item
        _push(branch.orders, order, branch.items)
        self._lineages[order] = lineage
        _push(self._orders, order, self._lineages)

    def remove(self, order: int) -> None:
        """Takes the item of this order out, and the ways that lead nowhere any more."""
        path = [self._root]
        lineage = self._lineages.pop(order)
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

    def oldest(self, lineage: Lineage) -> Item | None:
        """The item with the lowest order that agrees."""
        while self._orders and self._orders[0] not in self._lineages:
            heapq.heappop(self._orders)
        if not self._orders:
            return None
        first = self._orders[0]
        if agree(self._lineages[first], lineage):
            return self._find(first)
        found: tuple[int, Item] | None = None
        for branch in self._agreeing(lineage):
            order = branch.oldest()
            if order is not None and (found is None or order < found[0]):
                found = (order, branch.items[order])
        return None if found is None else found[1]

    def latest(self, lineage: Lineage) -> Item | None:
        """The item with the highest order that agrees. Only for items that were added in their order."""
        last = next(reversed(self._lineages), None)
        if last is None:
            return None
        if agree(self._lineages[last], lineage):
            return self._find(last)
        found: tuple[int, Item] | None = None
        for branch in self._agreeing(lineage):
            if branch.items:
                order = max(branch.items)
                if found is None or order > found[0]:
                    found = (order, branch.items[order])
        return None if found is None else found[1]

    def all(self, lineage: Lineage) -> list[Item]:
        """Every item that agrees, oldest first."""
        found: dict[int, Item] = {}
        for branch in self._agreeing(lineage):
            found.update(branch.items)
        return [found[order] for order in sorted(found)]

    def at(self, lineage: Lineage) -> list[int]:
        """Orders of the items with exactly this lineage."""
        branch: _Branch[Item] | None = self._root
        for number, index in lineage:
            branch = branch.branches.get(number, {}).get(index) if branch else None
        return list(branch.items) if branch else []

    def _find(self, order: int) -> Item:
        branch = self._root
        for number, index in self._lineages[order]:
            branch = branch.branches[number][index]
        return branch.items[order]

    def _agreeing(self, lineage: Lineage) -> Iterator[_Branch[Item]]:
        indices = dict(lineage)
        waiting = [self._root]
        while waiting:
            branch = waiting.pop()
            yield branch
            for number, ways in branch.branches.items():
                index = indices.get(number)
                if index is None:
                    waiting.extend(ways.values())
                elif index in ways:
                    waiting.append(ways[index])
