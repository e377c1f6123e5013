"""How values meet: input sets and the values of static links (DESIGN 4, "Tokens").

A value goes into the oldest waiting set that lacks its pin and whose lineage agrees, else it opens a new set. Values of
static links are latched: of them the latest that agrees serves every set, those waiting included.
"""

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

    def source_lost(self) -> None:
        """The last waiting set that held a value for some pin has left."""


class Matcher:
    """The waiting sets and latches of one execution. The indices are made from the state and never stored."""

    def __init__(self, topology: Topology, state: State, observer: SetObserver | None) -> None:
        self._topology = topology
        self._state = state
        self._observer = observer
        self._sets: dict[int, dict[int, AgreementIndex[InputSet]]] = {}
        self._latches: dict[tuple[int, int], AgreementIndex[Latch]] = {}
        self._latched_at: dict[tuple[int, int, Lineage], int] = {}
        self._held: dict[tuple[int, int], int] = {}
        for waiting in state.sets.values():
            self._index(waiting)
        for latch in state.latches.values():
            self._index_latch(latch)

    def deliver(self, place: Place, pin: int, token: Token) -> list[Full]:
        """Takes a value in; gives the sets that it makes full, oldest first."""
        if len(place.inlets) == 1:
            return [Full((token.value,), strengthen(token.lineage, token.weak))]
        if not place.inlets[pin].static:
            return self._join(place, pin, token)
        self._latch(place, pin, token)
        full = self._join(place, pin, token) if place.tokens_of_static else []
        return full + self._serve(place, pin, token.lineage)

    def holds(self, node: int, pin: int) -> bool:
        """True if some value for the pin is there already: in a waiting set, or latched."""
        return bool(self._latches.get((node, pin))) or (node, pin) in self._held

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
        before = self._latched_at.get((place.index, pin, token.lineage))
        if before is not None:
            self._latches[place.index, pin].remove(before)
            del self._state.latches[before]
        self._state.orders += 1
        latch = Latch(self._state.orders, place.index, pin, token.value, token.lineage)
        self._state.latches[latch.order] = latch
        self._index_latch(latch)

    def _index_latch(self, latch: Latch) -> None:
        index = self._latches.setdefault((latch.node, latch.pin), AgreementIndex(self._state.fan_outs))
        index.add(latch.order, latch.lineage, latch)
        self._latched_at[latch.node, latch.pin, latch.lineage] = latch.order

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
        for pin in self._wanted(waiting):
            self._sets[waiting.node][pin].remove(waiting.order)
        for pin in waiting.values:
            self._held[waiting.node, pin] -= 1
            if not self._held[waiting.node, pin]:
                del self._held[waiting.node, pin]
                if self._observer is not None:
                    self._observer.source_lost()

    def _index(self, waiting: InputSet) -> None:
        indices = self._sets.setdefault(waiting.node, {})
        for pin in self._wanted(waiting):
            indices.setdefault(pin, AgreementIndex(self._state.fan_outs)).add(waiting.order, waiting.lineage, waiting)
        for pin in waiting.values:
            self._held[waiting.node, pin] = self._held.get((waiting.node, pin), 0) + 1

    def _wanted(self, waiting: InputSet) -> list[int]:
        """The pins by which the set is found. A set that lacks others is not served by values of static links: they
        may come often, and would look at each such set in vain."""
        place = self._topology.places[waiting.node]
        missing = self.missing(waiting)
        if place.tokens_of_static or not any(place.required >> pin & 1 for pin in missing):
            return missing
        return [pin for pin in missing if place.required >> pin & 1]
