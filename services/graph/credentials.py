"""What the nodes of a graph want of credentials: pin by pin, and grouped into the fields that a start fills in.

node + block's schema -> demand   providers and hosts that a constant decides are decided here
demands -> fields                 one for each set of providers, types and host; scopes are united
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from blockyard.block.dynamic_pins import base_pin, fold
from blockyard.block.references import credential_id_of
from blockyard.block.requirements import HOST_SCOPED
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_pb2 import CredentialsField, CredentialsPin, Graph, Node

from services.graph.blocks import BlockDefinition
from services.graph.catalogue import Snapshot

MOST_NAMED_PROVIDERS = 3
"""A field of more providers is called after the first of them."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HOST = re.compile(r"[a-z0-9_.:-]{1,253}")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class CredentialsDemand:
    """What one pin wants."""

    graph_id: str
    """Graph that the node is of; empty for the one that is looked at."""
    node_id: str
    pin: str
    providers: tuple[str, ...]
    types: tuple[str, ...]
    scopes: tuple[str, ...]
    url: str
    """Where the credential is to be sent, up to host and port; empty if it is bound to no host, or to one that only a
    run knows."""
    required: bool
    """Whether an execution cannot start without it."""
    credential_id: str
    """The one that the node names; empty if it names none."""
    named_only: bool = False
    """Whether it has to be named, by the node or by the start."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The pin that it is of."""
        return self.graph_id, self.node_id, self.pin


@dataclass(frozen=True, slots=True)
class CredentialUse:
    """A place in a graph that names a credential."""

    node_id: str
    pin: str
    credential_id: UUID


def demands_of(graph: Graph, catalogue: Snapshot, graph_id: str = "") -> list[CredentialsDemand]:
    """What the nodes of a graph want themselves. Nodes whose block is gone want nothing."""
    linked: dict[str, set[str]] = {}
    for link in graph.links:
        linked.setdefault(link.sink_node_id, set()).add(base_pin(link.sink_pin))
    demands: list[CredentialsDemand] = []
    for node in graph.nodes:
        blocks = catalogue.find(node.block_id)
        block = blocks[0] if len(blocks) == 1 else None
        if block is not None and block.credentials and block.type != BlockType.BLOCK_TYPE_NOTE:
            known = with_defaults(block, _constants(node), linked.get(node.id, ()))
            demands += [_demand(graph_id, node, pin, block, known) for pin in sorted(block.credentials)]
    return demands


def _demand(graph_id: str, node: Node, pin: str, block: BlockDefinition, known: Mapping[str, Any]) -> CredentialsDemand:
    wanted = block.credentials[pin]
    picked = wanted.picked_value(known)
    named = credential_id_of(known.get(pin))
    return CredentialsDemand(
        graph_id=graph_id,
        node_id=node.id,
        pin=pin,
        providers=wanted.providers_for(picked),
        types=wanted.types,
        scopes=wanted.scopes,
        url=_origin(picked) if HOST_SCOPED in wanted.types and not wanted.discriminator_mapping else "",
        required=pin in block.required and not node.metadata.credentials_optional and named is None,
        credential_id=str(named or ""),
        named_only=wanted.named_only,
    )


def with_defaults(block: BlockDefinition, constants: Mapping[str, Any], linked: Iterable[str]) -> dict[str, Any]:
    """The constants that no link replaces, with the block's defaults for pins that have neither."""
    replaced = set(linked)
    values = {
        pin: schema["default"]
        for pin, schema in block.inputs.items()
        if pin not in replaced and isinstance(schema, Mapping) and schema.get("default") is not None
    }
    values.update({pin: value for pin, value in constants.items() if pin not in replaced and value is not None})
    return values


def fields_of(demands: Sequence[CredentialsDemand]) -> list[CredentialsField]:
    """The fields by name. The first demand of a pin counts: a graph that is run in two versions has its pins once."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...], str, bool], dict[tuple[str, str, str], CredentialsDemand]] = {}
    seen: set[tuple[str, str, str]] = set()
    for demand in demands:
        if demand.key not in seen:
            seen.add(demand.key)
            groups.setdefault((demand.providers, demand.types, demand.url, demand.named_only), {})[demand.key] = demand
    fields = []
    taken: set[str] = set()
    # In the order of what they want, so that a name depends on no order of nodes.
    for (providers, types, url, named_only), members in sorted(groups.items()):
        name = _name(providers, types, url)
        number = 1
        while name in taken:
            number += 1
            name = f"{_name(providers, types, url)}_{number}"
        taken.add(name)
        fields.append(
            CredentialsField(
                name=name,
                providers=providers,
                types=types,
                scopes=sorted({scope for one in members.values() for scope in one.scopes}),
                url=url,
                required=any(one.required for one in members.values()),
                pins=[
                    CredentialsPin(
                        node_id=one.node_id, pin=one.pin, graph_id=one.graph_id, credential_id=one.credential_id
                    )
                    for one in members.values()
                ],
                named_only=named_only,
            )
        )
    return sorted(fields, key=lambda one: one.name)


def uses_of(graph: Graph) -> list[CredentialUse]:
    """Where a graph names credentials. A reference is known by its form, so that no block has to be."""
    uses = []
    for node in graph.nodes:
        # Most nodes name none, and are not read.
        if b'"provider"' not in node.inputs_json:
            continue
        for pin, value in _constants(node).items():
            credential_id = credential_id_of(value)
            if credential_id is not None:
                uses.append(CredentialUse(node.id, pin, credential_id))
    return uses


def _constants(node: Node) -> dict[str, Any]:
    constants: dict[str, Any] = orjson.loads(node.inputs_json) if node.inputs_json else {}
    try:
        return fold(constants)
    except ValueError:
        # Parts that do not fit each other; what stands beside them counts all the same.
        return constants


def _origin(url: Any) -> str:
    """Scheme, host and port of a URL: what is in its path, and in its query, is nobody's business here."""
    if not isinstance(url, str) or not url.strip():
        return ""
    text = url.strip()
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return ""
    # Whether the credential is for that host is checked again where the request is sent.
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc or not _HOST.fullmatch(host):
        return ""
    shown = f"[{host}]" if ":" in host else host.removesuffix(".")
    return f"{parts.scheme}://{shown}{'' if port in (None, _DEFAULT_PORTS[parts.scheme]) else f':{port}'}"


def _name(providers: Sequence[str], types: Sequence[str], url: str) -> str:
    """`github_api_key`, `anthropic_or_openai_api_key`, `http_api_example_com_host_scoped`."""
    who = "_or_".join(providers)
    if len(providers) > MOST_NAMED_PROVIDERS:
        who = f"{providers[0]}_or_{len(providers) - 1}_others"
    where = url.partition("://")[2]
    words = "_".join(filter(None, [who or "any", where, "_or_".join(types)]))
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_") or "credential"
