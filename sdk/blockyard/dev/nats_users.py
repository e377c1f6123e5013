"""The users of NATS: what each may do, read from nats_users.yaml, and the passwords that a laptop stack gives them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from blockyard.feeds import user_word

DATA = Path(__file__).with_name("nats_users.yaml")
POOL = "{pool}"
SUBSCRIBER = "{user}"
ACCOUNT = "BLOCKYARD"
"""The account of NATS that services and runners share."""
LIMITS = {"max_mem": 0, "max_file": 1 << 30, "max_streams": 1, "max_consumers": 64}
"""What JetStream gives an account of a subscriber. Sizes in bytes."""
DEVELOPER = "developer"
"""May do everything: for the person at the laptop, and for tests."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do: subjects, and what each is for."""

    publish: Mapping[str, str]
    subscribe: Mapping[str, str]
    imports: Mapping[str, str]
    """Where there are some, the user has an account of its own, into which these subjects come."""


@dataclass(frozen=True, slots=True)
class NatsUser:
    """A user as a server is told of it."""

    name: str
    publish: Sequence[str]
    subscribe: Sequence[str]
    password: str = field(repr=False)
    imports: Sequence[str] = ()


def rights() -> dict[str, Rights]:
    """What each user may do, by its name; those for pools and subscribers have a place in their name and subjects."""
    content: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.load(DATA.read_text(), yaml.CSafeLoader)
    return {name: Rights(one["publish"], one["subscribe"], one.get("imports", {})) for name, one in content.items()}


def runner_of(pool: str) -> str:
    """The user that the runners of a pool are."""
    return f"runner.{pool}"


def subscriber_of(user_id: str) -> str:
    """The user that programs are which are told what executions of a user of Blockyard do."""
    return f"subscriber.{user_id}"


def names(pools: Iterable[str], subscribers: Iterable[str] = ()) -> list[str]:
    """All users of a server whose runners work for these pools, and on which these users of Blockyard subscribe."""
    return [DEVELOPER, *(name for name, _, _ in _filled(pools, subscribers))]


def users(pools: Iterable[str], passwords: Mapping[str, str], subscribers: Iterable[str] = ()) -> list[NatsUser]:
    """The same with their rights and passwords."""
    made = [NatsUser(DEVELOPER, [">"], [">"], passwords[DEVELOPER])]
    for name, one, words in _filled(pools, subscribers):
        publish, subscribe, imports = (
            [_replaced(subject, words) for subject in each] for each in (one.publish, one.subscribe, one.imports)
        )
        made.append(NatsUser(name, publish, subscribe, passwords[name], imports))
    return made


def accounts(users: Iterable[NatsUser]) -> str:
    """These users as nats-server's configuration has them."""
    users = list(users)
    apart = [user for user in users if user.imports]
    exports = [{"stream": subject, "accounts": [user.name]} for user in apart for subject in user.imports]
    shared = [_entry(user) for user in users if not user.imports]
    made: dict[str, Any] = {ACCOUNT: {"jetstream": "enabled", "users": shared, "exports": exports}}
    for user in apart:
        imports = [{"stream": {"account": ACCOUNT, "subject": subject}} for subject in user.imports]
        made[user.name] = {"jetstream": LIMITS, "users": [_entry(user)], "imports": imports}
    return f"accounts {json.dumps(made, indent=2)}"


def _filled(pools: Iterable[str], subscribers: Iterable[str]) -> list[tuple[str, Rights, Mapping[str, str]]]:
    """The users for these pools and subscribers, and what stands for the places in their subjects."""
    pools, subscribers = list(pools), list(subscribers)
    found: list[tuple[str, Rights, Mapping[str, str]]] = []
    for template, one in rights().items():
        if SUBSCRIBER in template:
            # Ids of users may hold dots, which would part a subject.
            found += [(template.replace(SUBSCRIBER, id), one, {SUBSCRIBER: user_word(id)}) for id in subscribers]
        elif POOL in template:
            found += [(template.replace(POOL, pool), one, {POOL: pool}) for pool in pools]
        else:
            found.append((template, one, {}))
    return found


def _replaced(subject: str, words: Mapping[str, str]) -> str:
    for place, word in words.items():
        subject = subject.replace(place, word)
    return subject


def _entry(user: NatsUser) -> dict[str, Any]:
    return {
        "user": user.name,
        "password": user.password,
        "permissions": {"publish": list(user.publish), "subscribe": list(user.subscribe)},
    }
