"""When a collect closes: exactly when nothing of its fan-out that could still reach it is alive (DESIGN 4, "Collect").

For each open scope two counts are kept: things that stem from its fan-out and can reach its collect (node executions
and inner scopes), and input sets of it that wait. With none alive, the sets decide: one of them that something alive
could still make full holds the scope open.
"""

import heapq
from collections.abc import Iterator

from services.execution.engine.lineage import Lineage, strengthen
from services.execution.engine.matching import Matcher
from services.execution.engine.plan import NodeKind
from services.execution.engine.state import InputSet, NodeExecution, Scope, State
from services.execution.engine.topology import Topology

WHOLE = 0
"""Fan-out of a scope that is the whole execution."""

Key = tuple[int, int]
"""A scope: its collect and its fan-out's execution."""


class Collector:
    """The open scopes of one execution. `matcher` is set after construction, since each needs the other."""

    matcher: Matcher

    def __init__(self, topology: Topology, state: State) -> None:
        self._places = topology.places
        self._state = state
        self._alive_at = [0] * len(self._places)
        self._open_at = [0] * len(self._places)
        self._check: set[Key] = set()
        self._queue: list[Key] = []
        self._held: dict[int, set[Key]] = {}
        self._held_by: dict[int, set[int]] = {}
        self._firing: dict[int, set[int]] = {}
        self._lost_sources = False
        for execution in state.live.values():
            self._alive_at[execution.node] += 1
        for key, scope in state.scopes.items():
            self._open_at[scope.collect] += 1
            if not scope.alive:
                self._look_at(key)

    def open(self, collect: int, fan_out: int, lineage: Lineage, now_ms: int) -> Scope:
        """Opens a scope, and counts what is there of it already."""
        scope = Scope(collect, fan_out, lineage, now_ms, self._state.turn + 1)
        key = (collect, fan_out)
        self._state.scopes[key] = scope
        self._open_at[collect] += 1
        if fan_out == WHOLE:
            scope.alive = sum(key in self._keys(e.node, e.number, e.lineage) for e in self._state.live.values())
            scope.alive += sum(key in self._scope_keys(other) for other in self._state.scopes.values())
            for one in self._state.sets.values():
                if key in self._set_keys(one):
                    self._count(scope, one, 1)
        self._look_at(key)
        for outer in self._scope_keys(scope):
            self._state.scopes[outer].alive += 1
        return scope

    def scope_for(self, collect: int, lineage: Lineage) -> tuple[Key, tuple[int, ...]]:
        """The scope that a value with this lineage belongs to, and the indices that sort it there."""
        of = self._places[collect].node.of
        if of >= 0:
            for at, (number, _) in enumerate(lineage):
                if self._state.fan_outs.get(number) == of:
                    return (collect, number), tuple(index for _, index in lineage[at:])
        return (collect, WHOLE), tuple(index for _, index in lineage)

    def enters(self, execution: NodeExecution) -> None:
        """A node execution is alive from now on."""
        self._alive_at[execution.node] += 1
        for key in self._keys(execution.node, execution.number, execution.lineage):
            self._state.scopes[key].alive += 1

    def leaves(self, execution: NodeExecution) -> None:
        """A node execution has its outcome, and its outputs have been passed on."""
        self._alive_at[execution.node] -= 1
        if not self._alive_at[execution.node]:
            self.source_lost()
        self._decrement(self._keys(execution.node, execution.number, execution.lineage))

    def closed(self, scope: Scope) -> None:
        """A scope's collect has run, and its outputs have been passed on."""
        self._open_at[scope.collect] -= 1
        if self._open_at[scope.collect] < 2:
            self.source_lost()
        held = self._held.get(scope.collect)
        if held is not None:
            held.discard((scope.collect, scope.fan_out))
            if not held:
                del self._held[scope.collect]
        self._decrement(self._scope_keys(scope))

    def source_lost(self) -> None:
        """Of SetObserver: fewer nodes may begin than before, so what waits for them must be looked at again."""
        self._lost_sources = True
        self._firing.clear()

    def set_waits(self, waiting: InputSet) -> None:
        """Of SetObserver."""
        for key in self._set_keys(waiting):
            self._count(self._state.scopes[key], waiting, 1)

    def set_leaves(self, waiting: InputSet) -> None:
        """Of SetObserver."""
        for key in self._set_keys(waiting):
            scope = self._state.scopes[key]
            self._count(scope, waiting, -1)
            if not scope.alive:
                self._look_at(key)

    def next_closable(self) -> Scope | None:
        """A scope that can close now, inner ones first; None if there is none.

        Scopes in a circle, each held open by a set that only another one could fill, are resolved by closing the
        innermost once nothing else is alive: otherwise the execution would never end.
        """
        if self._lost_sources and self._held:
            self._release()
        self._lost_sources = False
        while self._queue:
            last = heapq.heappop(self._queue)
            key = collect, _ = (-last[1], -last[0])
            self._check.discard(key)
            scope = self._state.scopes.get(key)
            if scope is None or scope.alive:
                continue
            firing = self._may_fire(collect)
            if not self._supplied(scope, firing):
                return scope
            self._held.setdefault(scope.collect, set()).add(key)
            self._held_by[scope.collect] = firing
        if self._state.live or not self._state.scopes:
            return None
        idle = [scope for scope in self._state.scopes.values() if not scope.alive] or list(self._state.scopes.values())
        return max(idle, key=lambda scope: (scope.fan_out, scope.collect))

    def _look_at(self, key: Key) -> None:
        """Puts a scope into the queue of those that may be able to close, the innermost (and youngest) first."""
        if key not in self._check:
            self._check.add(key)
            heapq.heappush(self._queue, (-key[1], -key[0]))

    def _release(self) -> None:
        """Looks again at scopes that are held open, if not all that they were held open by is there any more."""
        for collect, held in list(self._held.items()):
            if self._may_fire(collect) != self._held_by[collect]:
                del self._held[collect]
                for key in held:
                    self._look_at(key)

    def _count(self, scope: Scope, waiting: InputSet, step: int) -> None:
        kind = (waiting.node, *self.matcher.missing(waiting))
        count = scope.sets.get(kind, 0) + step
        if count:
            scope.sets[kind] = count
        else:
            del scope.sets[kind]

    def _decrement(self, keys: Iterator[Key]) -> None:
        for key in keys:
            scope = self._state.scopes[key]
            scope.alive -= 1
            if not scope.alive:
                self._look_at(key)

    def _keys(self, node: int, number: int, lineage: Lineage) -> Iterator[Key]:
        """The open scopes that a thing at a node with this lineage could still reach and stems from."""
        place, scopes = self._places[node], self._state.scopes
        if not place.closers:
            return
        for collect in place.collects:
            if (collect, number) in scopes:
                yield collect, number
        for ancestor, _ in lineage:
            for collect in place.closers.get(self._state.fan_outs.get(ancestor, -2), ()):
                if (collect, ancestor) in scopes:
                    yield collect, ancestor
        for collects in place.closers.values():
            for collect in collects:
                if (collect, WHOLE) in scopes:
                    yield collect, WHOLE

    def _scope_keys(self, scope: Scope) -> Iterator[Key]:
        own = (scope.collect, scope.fan_out)
        return (key for key in self._keys(scope.collect, -1, scope.lineage) if key != own)

    def _set_keys(self, waiting: InputSet) -> Iterator[Key]:
        return self._keys(waiting.node, -1, strengthen(waiting.lineage, waiting.weak))

    def _supplied(self, scope: Scope, firing: set[int]) -> bool:
        """True if a waiting set of the scope could still be made full by something alive."""
        return any(self._could_fill(node, missing, firing) for node, *missing in scope.sets)

    def _could_fill(self, node: int, missing: list[int], firing: set[int]) -> bool:
        """Values that are latched already may serve a set once another of its pins has come; by themselves they have
        been tried in vain."""
        inlets = self._places[node].inlets
        coming = [any(source in firing for source in inlets[pin].sources) for pin in missing]
        return any(coming) and all(
            comes or (inlets[pin].static and self.matcher.holds(node, pin))
            for pin, comes in zip(missing, coming, strict=True)
        )

    def _may_fire(self, collect: int) -> set[int]:
        """The nodes that may still begin an execution, if the scope that is asked about, of this collect, never closes.

        As time goes on it only shrinks: what begins was there before as something that may begin. So it is kept until
        a source is lost.
        """
        without = collect if self._open_at[collect] == 1 else -1
        known = self._firing.get(without)
        if known is not None:
            return known
        firing = {at for at, alive in enumerate(self._alive_at) if alive}
        firing |= {at for at, scopes in enumerate(self._open_at) if scopes and at != without}
        waiting = list(firing)
        while waiting:
            for node in self._places[waiting.pop()].successors:
                if node not in firing and node != without and self._could_begin(node, firing):
                    firing.add(node)
                    waiting.append(node)
        self._firing[without] = firing
        return firing

    def _could_begin(self, node: int, firing: set[int]) -> bool:
        place = self._places[node]
        if place.node.kind is NodeKind.COLLECT:
            if place.node.of in firing:
                return True
            return node not in self._state.closed and any(s in firing for one in place.inlets for s in one.sources)
        return all(
            any(source in firing for source in inlet.sources) or self.matcher.holds(node, pin)
            for pin, inlet in enumerate(place.inlets)
        )
