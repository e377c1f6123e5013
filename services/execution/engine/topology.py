"""What follows from a plan: where values go, which links lie on cycles, who can reach whom. Computed once a plan."""

from dataclasses import dataclass

import msgspec

from services.execution.engine.plan import NodeKind, Plan, PlanNode


@dataclass(frozen=True, slots=True)
class Way:
    """A link from its source's side."""

    sink: int
    pin: int
    """Number of the sink's pin among its linked ones."""
    static: bool
    cycle: int
    """Number of the cycle that both ends lie on; -1 if none."""
    order: int
    """Number of the link in the plan."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """A linked output pin."""

    many: bool
    ways: tuple[Way, ...]


@dataclass(frozen=True, slots=True)
class Inlet:
    """A linked input pin: its name, whether its links are static, and the nodes that the links come from."""

    name: str
    static: bool
    sources: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A node with its surroundings."""

    index: int
    node: PlanNode
    inlets: tuple[Inlet, ...]
    outlets: dict[str, Outlet]
    cycle: int
    required: int
    """Bit set of the inlets that are not static."""
    latched: tuple[int, ...]
    """Inlets that are static."""
    tokens_of_static: bool
    """True if all inlets are static: their values then open input sets as others do."""
    fans_out: bool
    collects: tuple[int, ...]
    """Collects that gather this node's fan-outs."""
    closers: dict[int, tuple[int, ...]]
    """By fan-out node: the collects of it that can be reached from here. By -1: those of the whole execution."""
    inputs_prefix: bytes
    inputs_names: tuple[bytes, ...]
    constants: dict[str, msgspec.Raw]
    selectors: tuple[str, ...]
    """Linked output pins that are selectors, such as "item_#_key"."""


SEPARATORS = ("_$_", "_#_", "_@_")


def base_pin(pin: str) -> str:
    """The pin that a selector is taken from: "item" of "item_#_key"."""
    cut = min((at for separator in SEPARATORS if (at := pin.find(separator)) > 0), default=len(pin))
    return pin[:cut]


class Topology:
    """A plan's places. Shared by all executions of one plan."""

    __slots__ = ("collects", "has_collects", "has_cycles", "places", "plan", "starts")

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        successors = [sorted({link.sink for link in plan.links if link.source == at}) for at in range(len(plan.nodes))]
        cycles = number_cycles(successors)
        reach = [reachable(successors, at) for at in range(len(plan.nodes))]
        self.collects = tuple(at for at, node in enumerate(plan.nodes) if node.kind is NodeKind.COLLECT)
        self.has_collects = bool(self.collects)
        self.has_cycles = any(cycle >= 0 for cycle in cycles)
        inlets = [_inlets(plan, at) for at in range(len(plan.nodes))]
        self.places = tuple(self._place(at, inlets, cycles, reach) for at in range(len(plan.nodes)))
        self.starts = tuple(place for place in self.places if not place.inlets)

    def _place(self, at: int, inlets: list[tuple[Inlet, ...]], cycles: list[int], reach: list[set[int]]) -> Place:
        plan, node, own = self.plan, self.plan.nodes[at], inlets[at]
        constants = msgspec.json.decode(node.constants, type=dict[str, msgspec.Raw])
        linked = {inlet.name for inlet in own}
        fixed = [_pair(name, bytes(value)) for name, value in constants.items() if name not in linked]
        closers: dict[int, list[int]] = {}
        for collect in self.collects:
            if collect in reach[at] or collect == at:
                closers.setdefault(plan.nodes[collect].of, []).append(collect)
        outlets = {
            pin: Outlet(
                many=base_pin(pin) in node.many_pins,
                ways=tuple(
                    Way(
                        sink=link.sink,
                        pin=next(n for n, inlet in enumerate(inlets[link.sink]) if inlet.name == link.sink_pin),
                        static=next(inlet.static for inlet in inlets[link.sink] if inlet.name == link.sink_pin),
                        cycle=cycles[at] if cycles[at] >= 0 and cycles[at] == cycles[link.sink] else -1,
                        order=order,
                    )
                    for order, link in enumerate(plan.links)
                    if link.source == at and link.source_pin == pin
                ),
            )
            for pin in dict.fromkeys(link.source_pin for link in plan.links if link.source == at)
        }
        latched = tuple(number for number, inlet in enumerate(own) if inlet.static)
        return Place(
            index=at,
            node=node,
            inlets=own,
            outlets=outlets,
            cycle=cycles[at],
            required=sum(1 << number for number, inlet in enumerate(own) if not inlet.static),
            latched=latched,
            tokens_of_static=bool(own) and len(latched) == len(own),
            fans_out=bool(node.many_pins),
            collects=tuple(c for c in self.collects if plan.nodes[c].of == at and c in reach[at]),
            closers={of: tuple(collects) for of, collects in closers.items()},
            inputs_prefix=b"{" + b",".join(fixed),
            inputs_names=tuple(msgspec.json.encode(inlet.name) + b":" for inlet in own),
            constants=constants,
            selectors=tuple(pin for pin in outlets if base_pin(pin) != pin),
        )

    def inputs(self, node: int, values: tuple[bytes | None, ...]) -> bytes:
        """The input of a node execution as a JSON object: constants of pins that are not linked, and the values."""
        place = self.places[node]
        parts = [name + value for name, value in zip(place.inputs_names, values, strict=True) if value is not None]
        if not parts:
            return place.inputs_prefix + b"}"
        joint = b"," if len(place.inputs_prefix) > 1 else b""
        return place.inputs_prefix + joint + b",".join(parts) + b"}"


def _pair(name: str, value: bytes) -> bytes:
    return msgspec.json.encode(name) + b":" + value


def _inlets(plan: Plan, at: int) -> tuple[Inlet, ...]:
    links = [link for link in plan.links if link.sink == at]
    return tuple(
        Inlet(
            name=pin,
            static=all(link.static for link in links if link.sink_pin == pin),
            sources=tuple(sorted({link.source for link in links if link.sink_pin == pin})),
        )
        for pin in dict.fromkeys(link.sink_pin for link in links)
    )


def reachable(successors: list[list[int]], start: int) -> set[int]:
    """The nodes that a value from `start` can come to; `start` itself only if it lies on a cycle."""
    found: set[int] = set()
    waiting = list(successors[start])
    while waiting:
        at = waiting.pop()
        if at not in found:
            found.add(at)
            waiting.extend(successors[at])
    return found


def number_cycles(successors: list[list[int]]) -> list[int]:
    """For each node the number of the strongly connected component that it shares a cycle with; -1 if on no cycle."""
    reach = [reachable(successors, at) for at in range(len(successors))]
    cycles = [-1] * len(successors)
    for at, found in enumerate(reach):
        if at in found and cycles[at] < 0:
            for other in found:
                if at in reach[other]:
                    cycles[other] = at
    return cycles


def default_of(plan: Plan, collect: int) -> int:
    """The node whose fan-out a Collect gathers by default: the nearest upstream with a many-pin whose fan-out is still
    open there; -1 (the whole execution) with none. A Collect on the way closes its own fan-out: the search goes on
    above that one."""
    seen: set[int] = set()
    ring = [link.source for link in plan.links if link.sink == collect]
    while ring:
        following: list[int] = []
        for at in ring:
            if at in seen or at == collect:
                continue
            seen.add(at)
            node = plan.nodes[at]
            if node.many_pins and node.kind is NodeKind.TASK:
                return at
            above = node.of if node.kind is NodeKind.COLLECT and node.of >= 0 else at
            following.extend(link.source for link in plan.links if link.sink == above)
        ring = following
    return -1
