"""The users of NATS: what each may do, read from nats_users.yaml, and the passwords that a laptop stack gives them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

DATA = Path(__file__).with_name("nats_users.yaml")
POOL = "{pool}"
DEVELOPER = "developer"
"""May do everything: for the person at the laptop, and for tests."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do: subjects, and what each is for."""

    publish: Mapping[str, str]
    subscribe: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class NatsUser:
    """A user as a server is told of it."""

    name: str
    publish: Sequence[str]
    subscribe: Sequence[str]
    password: str = field(repr=False)


def rights() -> dict[str, Rights]:
    """What each user may do, by its name; those for pools have the place for it in their name and subjects."""
    content: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(DATA.read_text())
    return {name: Rights(one["publish"], one["subscribe"]) for name, one in content.items()}


def runner_of(pool: str) -> str:
    """The user that the runners of a pool are."""
    return f"runner.{pool}"


def names(pools: Iterable[str]) -> list[str]:
    """All users of a server whose runners work for these pools."""
    pools = list(pools)
    return [DEVELOPER, *dict.fromkeys(name.replace(POOL, pool) for name in rights() for pool in pools)]


def users(pools: Iterable[str], passwords: Mapping[str, str]) -> list[NatsUser]:
    """All users of a server whose runners work for these pools, with their passwords."""
    pools = list(pools)
    made = {DEVELOPER: NatsUser(DEVELOPER, [">"], [">"], passwords[DEVELOPER])}
    for template, one in rights().items():
        for pool in pools:
            name = template.replace(POOL, pool)
            publish, subscribe = (
                [subject.replace(POOL, pool) for subject in each] for each in (one.publish, one.subscribe)
            )
            made[name] = NatsUser(name, publish, subscribe, passwords[name])
    return list(made.values())


def authorization(users: Iterable[NatsUser]) -> str:
    """These users as nats-server's configuration has them."""
    entries = [
        {
            "user": user.name,
            "password": user.password,
            "permissions": {"publish": list(user.publish), "subscribe": list(user.subscribe)},
        }
        for user in users
    ]
    return f"authorization {{ users: {json.dumps(entries, indent=2)} }}"
