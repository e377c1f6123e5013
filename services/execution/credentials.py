"""Which credentials the nodes of an execution are given: settled at its start, and stored in its row as references.

graph -> fields     the graph service says which pins want what (Graph.credentials_fields), those of sub-graphs included
fields -> demands   what the start names, by field or by "<node id>.<pin>"; else what the node names; else one is to be
                    found among the user's
demands -> vault    judges what was chosen, and finds what could be. It is away: UNAVAILABLE, and the client asks again
answer -> row       references by pin. What is required and missing is named by field, and nothing is started
row -> task         those of the task's node. The runner leases their secrets, and the vault asks here (run_checks.py)
                    whether the run is alive and which credentials are its
"""

import json
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import grpc
from blockyard.graph.v1.graph_pb2 import CredentialsField, CredentialsPin
from blockyard.runner.v1.lease_service_pb2 import (
    CredentialDemand,
    CredentialMatch,
    MatchCredentialsRequest,
    MatchedCredential,
)

from services.common.errors import InvalidArgument, Unavailable, Violation
from services.execution.errors import CredentialsMissing

if TYPE_CHECKING:  # the asynchronous form exists for type checkers alone
    from blockyard.runner.v1.lease_service_pb2_grpc import LeaseServiceAsyncStub

Reference: TypeAlias = dict[str, str]
"""A credential as blocks see it in their input: "id", "provider", "type", "title"."""

References: TypeAlias = dict[str, Reference]
"""By "<graph id>/<node id>.<pin>"."""

MATCH_SECONDS = 1.0
"""For how long an answer of the vault serves further starts: a lease asks again anyway."""

KEPT_MATCHES = 1_000

NO_VAULT = "there is no vault here: ask the operator to set BLOCKYARD_CREDENTIALS_ADDRESS"


@dataclass(frozen=True, slots=True)
class Want:
    """A pin that wants a credential, and what is known of it before the vault is asked."""

    field: CredentialsField
    pin: CredentialsPin
    chosen: str
    """Id of the credential that was chosen for it; empty if one is to be found."""

    @property
    def demand(self) -> str:
        """Name of the demand that it shares with pins that want the same."""
        return f"{self.field.name} {self.chosen}"

    @property
    def path(self) -> str:
        """Where a start would name it."""
        return f"credentials.{self.field.name}"


@dataclass(slots=True, eq=False)
class Credentials:
    """Settles them with the vault."""

    vault: "LeaseServiceAsyncStub | None"
    """None where there is no vault."""
    _known: OrderedDict[bytes, tuple[float, Mapping[str, CredentialMatch]]] = field(default_factory=OrderedDict)

    async def settle(
        self,
        user_id: str,
        graph_id: str,
        fields: Sequence[CredentialsField],
        given: Mapping[str, str],
        inherited: References | None = None,
        *,
        take_first: bool = False,
    ) -> References:
        """References for the pins of these fields. `given` is what the start names; `inherited`, what the execution
        above was given, which counts before what is found. Where several would do, `take_first` takes the oldest.

        Raises CredentialsMissing and InvalidArgument with a violation for each field.
        """
        _check_names(fields, given)
        settled: References = {}
        wants: list[Want] = []
        for want in _wants(fields, given):
            key = key_of(want.pin.graph_id or graph_id, want.pin.node_id, want.pin.pin)
            above = (inherited or {}).get(key)
            if (above is not None and not want.chosen) or (above is not None and above["id"] == want.chosen):
                settled[key] = above
            else:
                wants.append(want)
        if not wants:
            return settled
        matches = await self._matches(user_id, wants)
        violations: dict[str, str] = {}
        for want in wants:
            match = matches.get(want.demand, CredentialMatch(problem=NO_VAULT))
            found, problem = _judged(want, match, take_first)
            if problem:
                violations.setdefault(want.path, problem)
            elif found is not None:
                settled[key_of(want.pin.graph_id or graph_id, want.pin.node_id, want.pin.pin)] = found
        if violations:
            raise CredentialsMissing(violations=[Violation(path, problem) for path, problem in violations.items()])
        return settled

    async def _matches(self, user_id: str, wants: Iterable[Want]) -> Mapping[str, CredentialMatch]:
        demands = {want.demand: _demand(want) for want in wants}
        request = MatchCredentialsRequest(user_id=user_id, demands=demands.values())
        key = request.SerializeToString(deterministic=True)
        known = self._known.get(key)
        if known is not None and time.monotonic() < known[0]:
            return known[1]
        if self.vault is None:
            return {}
        asked_at = time.monotonic()
        try:
            answer = await self.vault.MatchCredentials(request)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise Unavailable("The credentials service is away. Try again.") from error
            raise
        matches = dict(answer.matches)
        # What is missing now may have been added before the next start.
        if all(match.candidates and not match.problem for match in matches.values()):
            self._known[key] = (asked_at + MATCH_SECONDS, matches)
            while len(self._known) > KEPT_MATCHES:
                self._known.popitem(last=False)
        return matches


def with_preset(
    preset: Mapping[str, str], given: Mapping[str, str], fields: Sequence[CredentialsField]
) -> Mapping[str, str]:
    """What a start names, and below it what its preset does: who names a field means all its pins."""
    if not preset:
        return given
    places = {f"{pin.node_id}.{pin.pin}" for one in fields if one.name in given for pin in one.pins}
    return {**{name: chosen for name, chosen in preset.items() if name not in places}, **given}


def key_of(graph_id: str, node_id: str, pin: str) -> str:
    """Under which a pin's reference stands in the row of an execution."""
    return f"{graph_id}/{node_id}.{pin}"


def by_node(references: References, graph_id: str) -> dict[str, dict[str, Reference]]:
    """References of the nodes of one graph: by node id, then by pin."""
    nodes: dict[str, dict[str, Reference]] = {}
    for key, reference in references.items():
        of_graph, _, place = key.partition("/")
        if of_graph == graph_id:
            node_id, _, pin = place.rpartition(".")
            nodes.setdefault(node_id, {})[pin] = reference
    return nodes


def encode_references(references: References) -> str | None:
    """As the row has them."""
    return json.dumps(references) if references else None


def decode_references(stored: str | None) -> References:
    """What `encode_references` made the text from."""
    references: References = json.loads(stored) if stored else {}
    return references


def _wants(fields: Iterable[CredentialsField], given: Mapping[str, str]) -> Iterator[Want]:
    for one in fields:
        for pin in one.pins:
            chosen = given.get(f"{pin.node_id}.{pin.pin}") or given.get(one.name) or pin.credential_id
            yield Want(one, pin, chosen)


def _check_names(fields: Sequence[CredentialsField], given: Mapping[str, str]) -> None:
    names = {one.name for one in fields}
    places = {f"{pin.node_id}.{pin.pin}" for one in fields for pin in one.pins}
    known = ", ".join(sorted(names)) or "none"
    unknown = [
        Violation(f"credentials.{name[:200]}", f"there is no such field here; there are: {known}")
        for name in given
        if name not in names and name not in places
    ]
    if unknown:
        raise InvalidArgument(violations=unknown)


def _demand(want: Want) -> CredentialDemand:
    return CredentialDemand(
        name=want.demand,
        providers=want.field.providers,
        types=want.field.types,
        scopes=want.field.scopes,
        url=want.field.url,
        credential_id=want.chosen,
    )


def _judged(want: Want, match: CredentialMatch, take_first: bool) -> tuple[Reference | None, str]:
    """The reference for a pin, if there is one, and what is wrong if something is."""
    wanted = _wanted(want.field)
    if want.chosen and (match.problem or not match.candidates):
        return None, f"{match.problem or 'the credential does not fit'} (wanted: {wanted})"
    if want.field.named_only and not want.chosen and not take_first:
        # The graph says where the secret is sent, and the graph may be anybody's.
        if not want.field.required:
            return None, ""
        choices = "; ".join(f"{one.credential_id} ({one.title})" for one in match.candidates) or "none yet"
        return None, f"the graph decides where it is sent, so name the one to use: {choices} (wanted: {wanted})"
    if match.problem and want.field.required:
        return None, f"{match.problem} (wanted: {wanted})"
    if len(match.candidates) == 1 or (match.candidates and (take_first or want.chosen)):
        return _reference(match.candidates[0]), ""
    if not want.field.required:
        return None, ""
    if match.candidates:
        choices = "; ".join(f"{one.credential_id} ({one.title})" for one in match.candidates)
        return None, f"several of your credentials would do, name one: {choices} (wanted: {wanted})"
    return None, f"you have no credential that fits: add one for {wanted}"


def _wanted(one: CredentialsField) -> str:
    words = f"{' or '.join(one.providers) or 'any provider'}, {' or '.join(one.types)}"
    words += f", scopes {' '.join(one.scopes)}" if one.scopes else ""
    words += f", for {one.url}" if one.url else ""
    nodes = ", ".join(f"{pin.node_id}.{pin.pin}" for pin in one.pins[:5])
    return f"{words}; by {nodes}"


def _reference(one: MatchedCredential) -> Reference:
    return {"id": one.credential_id, "provider": one.provider, "type": one.type, "title": one.title}


def references_json(references: Mapping[str, Reference]) -> bytes:
    """As a task carries those of its node."""
    return json.dumps(references).encode()
