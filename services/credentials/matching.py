"""Which credentials fit what a pin wants: by provider, kind, scopes and host; and why a chosen one does not.

Headers of a host-scoped credential go to one place alone, so a URL is read as the egress client reads it before it
sends: lower case, names in their ASCII form, addresses in their usual one, without a dot at the end of a name. A URL
with a user name in it, or one that parsers disagree about, fits nothing.

    example.com         that host, at the usual port of the URL's scheme
    example.com:8443    that host at that port alone
    *.example.com       all names below it, at any depth; not example.com itself, and no address
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from blockyard.egress import EgressError
from blockyard.egress.scopes import Scope
from blockyard.egress.targets import parse_target

from services.credentials.records import CredentialState, CredentialType

MOST_CANDIDATES = 20
_PATTERN = re.compile(r"(?P<wild>\*\.)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s\[\]:/?#@\\*%]+)(?::(?P<port>[0-9]{1,5}))?")
EXPECTED_HOST = 'expected a host ("api.example.com") or all below one ("*.example.com"), either with ":port"'


def read_host(text: str) -> Scope:
    """Where the headers of a host-scoped credential go; a ValueError says what is wrong."""
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED_HOST)
    try:
        # As a URL is read, so that a name in another script has its ASCII form.
        target = parse_target(f"https://{match['host']}:{match['port'] or 443}/")
    except EgressError:
        raise ValueError(EXPECTED_HOST) from None
    if match["wild"] and target.address is not None:
        raise ValueError("there is nothing below an address: leave out the *.")
    return Scope(target.host, bool(match["wild"]), target.port if match["port"] else None)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pin wants. Of what is empty, anything will do."""

    name: str
    providers: Sequence[str]
    types: Sequence[str]
    scopes: Sequence[str]
    url: str
    credential_id: str
    """The chosen one; empty if one is to be found."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a credential of the user."""

    credential_id: UUID
    provider: str
    type: CredentialType
    title: str
    scopes: Sequence[str]
    host: str
    state: CredentialState
    state_reason: str
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class Match:
    """What was found for a demand."""

    candidates: Sequence[Candidate]
    problem: str = ""
    """Why the chosen one does not do."""


def match(demand: Demand, candidates: Sequence[Candidate], now: datetime) -> Match:
    """What fits, of these credentials of the user, oldest first."""
    if not demand.credential_id:
        fitting = [one for one in candidates if not problem_with(one, demand, now)]
        return Match(fitting[:MOST_CANDIDATES])
    chosen = next((one for one in candidates if str(one.credential_id) == demand.credential_id.lower()), None)
    if chosen is None:
        return Match((), "the credential does not exist, or belongs to somebody else")
    problem = problem_with(chosen, demand, now)
    return Match((), problem) if problem else Match((chosen,))


def problem_with(one: Candidate, demand: Demand, now: datetime) -> str:
    """Why a credential does not fit; empty if it does."""
    title = f'the credential "{one.title}"'
    if demand.providers and one.provider not in demand.providers:
        return f"{title} is for {one.provider}, and {_any_of(demand.providers)} is wanted"
    if demand.types and one.type.word not in demand.types:
        return f"{title} is of the kind {one.type.word}, and {_any_of(demand.types)} is wanted"
    missing = sorted(set(demand.scopes) - set(one.scopes)) if one.type is CredentialType.OAUTH2 else []
    if missing:
        return f"{title} lacks the scopes {' '.join(missing)}: connect it again with them"
    if one.type is CredentialType.HOST_SCOPED and demand.url and not _is_for(one.host, demand.url):
        return f"{title} is for {one.host}, and not for the host and port of this URL"
    unusable = problem_of(one.type, one.state, one.state_reason, one.expire_time, now)
    return f"{title} cannot be used: {unusable}" if unusable else ""


def problem_of(
    kind: CredentialType, state: CredentialState, reason: str, expire_time: datetime | None, now: datetime
) -> str:
    """Why a credential cannot be used, whatever it is for; empty if it can."""
    if state is CredentialState.REVOKED:
        return reason or "its provider refuses it; connect it again"
    if state is CredentialState.UNREADABLE:
        return reason or "its secret cannot be decrypted; replace it"
    # An access token that has expired is refreshed.
    if state is CredentialState.EXPIRED or (kind is not CredentialType.OAUTH2 and expire_time and expire_time <= now):
        return reason or "its time is over; replace it, or change its expiry"
    return ""


def _is_for(host: str, url: str) -> bool:
    try:
        return read_host(host).holds(parse_target(url))
    except (ValueError, EgressError):
        return False


def _any_of(words: Sequence[str]) -> str:
    return " or ".join(words)
