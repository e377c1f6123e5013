"""How values meet: input sets and the values of static links (DESIGN 4, "Tokens").

A value goes into the oldest waiting set that lacks its pin and whose lineage agrees, else it opens a new set. Values of
static links are latched: of them the latest that agrees serves every set, those waiting included.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from services.execution.engine.lineage import AgreementIndex, Lineage, strengthen, union, union_weak
from services.execution.engine.state import InputSet, Latch, State
from services.execution.engine.topology import Place, Topology


@dataclass(frozen=True, slots=True)
class Token:
    """A value on its way. `weak` holds the entries of fan-outs outside the cycle that it is passed round in: they are
    not matched, but go on with the set unless one of its other values knows better."""

    value: bytes
    lineage: Lineage
    weak: Lineage = ()


@dataclass(frozen=True, slots=True)
class Full:
    """A set that has all of its values: a node execution can begin."""

    values: tuple[bytes | None, ...]
    lineage: Lineage


class SetObserver(Protocol):
    """Is told of waiting sets: collects close by them."""

    def set_waits(self, waiting: InputSet) -> None:
        """The set waits from now on."""

    def set_leaves(self, waiting: InputSet) -> None:
        """The set is full, or is about to change."""


class Matcher:
    """The waiting sets and latches of one execution. The indices are made from the state and never stored."""

    def __init__(self, topology: Topology, state: State, observer: SetObserver | None) -> None:
        self._topology = topology
        self._state = state
        self._observer = observer
        self._sets: dict[int, dict[int, AgreementIndex[InputSet]]] = {}
        self._latches: dict[tuple[int, int], AgreementIndex[Latch]] = {}
        for waiting in state.sets.values():
            self._index(waiting)
        for latch in state.latches.values():
            self._latches.setdefault((latch.node, latch.pin), AgreementIndex()).add(latch.order, latch.lineage, latch)

    def deliver(self, place: Place, pin: int, token: Token) -> list[Full]:
        """Takes a value in; gives the sets that it makes full, oldest first."""
        if len(place.inlets) == 1:
            return [Full((token.value,), strengthen(token.lineage, token.weak))]
        if not place.inlets[pin].static:
            return self._join(place, pin, token)
        self._latch(place, pin, token)
        full = self._join(place, pin, token) if place.tokens_of_static else []
        return full + self._serve(place, pin, token.lineage)

    def waiting_at(self, node: int) -> Iterable[InputSet]:
        """The sets that wait at a node."""
        return (waiting for waiting in self._state.sets.values() if waiting.node == node)

    def holds(self, node: int, pin: int) -> bool:
        """True if some value for the pin is there already: in a waiting set, or latched."""
        if self._latches.get((node, pin)):
            return True
        indices = self._sets.get(node, {})
        waiting = max((len(index) for index in indices.values()), default=0)
        return waiting > 0 and any(pin in one.values for one in self.waiting_at(node))

    def missing(self, waiting: InputSet) -> list[int]:
        """Pins of a set that have no value yet."""
        pins = range(len(self._topology.places[waiting.node].inlets))
        return [pin for pin in pins if pin not in waiting.values]

    def _join(self, place: Place, pin: int, token: Token) -> list[Full]:
        index = self._sets.get(place.index, {}).get(pin)
        joined = index.oldest(token.lineage) if index else None
        if joined is None:
            self._state.orders += 1
            joined = InputSet(self._state.orders, place.index, {}, token.lineage, token.weak)
        else:
            self._remove(joined)
            joined.lineage = union(joined.lineage, token.lineage)
            joined.weak = union_weak(joined.weak, token.weak)
        joined.values[pin] = token.value
        full = self._fill(place, joined)
        if full is None:
            self._add(joined)
            return []
        return [full]

    def _fill(self, place: Place, waiting: InputSet) -> Full | None:
        """The set with its latched values, if it has all of the others."""
        held = waiting.values
        if any(pin not in held for pin in range(len(place.inlets)) if place.required >> pin & 1):
            return None
        values = [held.get(pin) for pin in range(len(place.inlets))]
        lineage = waiting.lineage
        for pin in place.latched:
            if pin in held:
                continue
            index = self._latches.get((place.index, pin))
            latch = index.latest(lineage) if index else None
            if latch is None:
                return None
            values[pin] = latch.value
            lineage = union(lineage, latch.lineage)
        return Full(tuple(values), strengthen(lineage, waiting.weak))

    def _latch(self, place: Place, pin: int, token: Token) -> None:
        index = self._latches.setdefault((place.index, pin), AgreementIndex())
        for order in index.at(token.lineage):
            index.remove(order)
            del self._state.latches[order]
        self._state.orders += 1
        latch = Latch(self._state.orders, place.index, pin, token.value, token.lineage)
        index.add(latch.order, latch.lineage, latch)
        self._state.latches[latch.order] = latch

    def _serve(self, place: Place, pin: int, lineage: Lineage) -> list[Full]:
        index = self._sets.get(place.index, {}).get(pin)
        served = []
        for waiting in index.all(lineage) if index else ():
            full = self._fill(place, waiting)
            if full is not None:
                self._remove(waiting)
                served.append(full)
        return served

    def _add(self, waiting: InputSet) -> None:
        self._state.sets[waiting.order] = waiting
        self._index(waiting)
        if self._observer is not None:
            self._observer.set_waits(waiting)

    def _remove(self, waiting: InputSet) -> None:
        if self._observer is not None:
            self._observer.set_leaves(waiting)
        del self._state.sets[waiting.order]
        for pin in self.missing(waiting):
            self._sets[waiting.node][pin].remove(waiting.order)

    def _index(self, waiting: InputSet) -> None:
        indices = self._sets.setdefault(waiting.node, {})
        for pin in self.missing(waiting):
            indices.setdefault(pin, AgreementIndex()).add(waiting.order, waiting.lineage, waiting)
