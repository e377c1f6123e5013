"""Tokens of users and services: what is taken, and every way in which one may not fit."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.common import identity
from services.common.errors import PermissionDenied
from services.common.identity import Caller, Secrets, TokenExpired, TokenInvalid
from services.common.jwks import KeysAway, KeySet
from services.common.permissions import Role
from services.common.tokens import Provider, ServiceTokens, UserTokens
from tests import signing
from tests.unit.common.key_server import (
    AUDIENCE,
    ISSUER,
    KeyServer,
    SigningKey,
    ec_key,
    ed_key,
    rsa_key,
    signed_by_hand,
)

SECRET = signing.JWT_SECRET
RSA, EC, ED = rsa_key("rsa-1"), ec_key("ec-1"), ed_key("ed-1")


def token(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"iss": "blockyard", "aud": "blockyard", "sub": "ada", "role": "user", "exp": time.time() + 3600}
    claims.update(changes)
    return jwt.encode({name: claim for name, claim in claims.items() if claim is not None}, secret, algorithm)


USERS = UserTokens(SECRET, None)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def provider(
    *keys: SigningKey, secret: str = "", clock: Clock | None = None, **settings: Any
) -> AsyncIterator[tuple[UserTokens, KeyServer]]:
    async with KeyServer([key.described() for key in keys]) as server, httpx2.AsyncClient(timeout=2) as client:
        key_set = KeySet(server.url, client, clock or time.monotonic)
        values: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "role_claim": "role",
            "roles": {role.value: role for role in (Role.ADMIN, Role.USER, Role.VIEWER)},
            "default_role": Role.USER,
            **settings,
        }
        try:
            yield UserTokens(secret, Provider(keys=key_set, **values)), server
        finally:
            await key_set.close()


async def test_a_user_token_names_its_user_and_role() -> None:
    claims = await USERS.check(identity.user_token(SECRET, "auth0|ada", "viewer", life=60))

    assert (claims.user_id, claims.role) == ("auth0|ada", Role.VIEWER)


async def test_a_token_is_good_for_half_a_minute_before_its_beginning_and_after_its_end() -> None:
    assert (await USERS.check(token(exp=time.time() - 20))).user_id == "ada"
    assert (await USERS.check(token(nbf=time.time() + 20, iat=time.time() + 20))).user_id == "ada"
    with pytest.raises(TokenExpired):
        await USERS.check(token(exp=time.time() - 40))
    with pytest.raises(TokenInvalid):
        await USERS.check(token(nbf=time.time() + 60))


@pytest.mark.parametrize(
    "wrong",
    [
        "not.a.token",
        "...",
        "a" * 20_000,
        token(secret="t" * 32),
        token(secret="s" * 64, algorithm="HS512"),
        token(secret=SECRET, algorithm="HS384"),
        token(secret="", algorithm="none"),
        token(iss="somebody"),
        token(iss=None),
        token(aud="blockyard-internal"),
        token(aud=None),
        token(exp=None),
        token(exp="tomorrow"),
        token(exp=10**400),
        "\ud800.a.b",
        token(exp=[1]),
        token(exp=1e400),
        token(nbf="never"),
        token(sub=None),
        token(sub=""),
        token(sub="a" * 101),
        token(sub="ada lovelace"),
        token(sub="a/b"),
        token(sub="a*"),
        token(sub="a>"),
        token(sub="a%2Eb"),
        token(sub="a\x00"),
        token(sub="service:graph"),
        token(role=None),
        token(role="service"),
        token(role="runner"),
        token(role="root"),
        token(role=["admin"]),
        token()[:-4],
        token() + "AAAA",
        token().replace(".", ".."),
        signed_by_hand({"alg": "HS256", "kid": 7}, {"sub": "ada"}, b"x"),
        signed_by_hand({"alg": ["HS256"]}, {"sub": "ada"}, b"x"),
        signed_by_hand({"alg": "none"}, {"sub": "ada", "role": "admin", "exp": 2e9}, b""),
        signed_by_hand({"alg": "None"}, {"sub": "ada", "role": "admin", "exp": 2e9}, b""),
        ("[" * 3000 + "]" * 3000) + ".e30.e30",
        urlsafe_b64encode(b"[" * 3000).decode() + ".e30.e30",
    ],
)
async def test_a_token_that_does_not_fit_is_invalid(wrong: str) -> None:
    with pytest.raises(TokenInvalid):
        await USERS.check(wrong)


async def test_without_a_secret_no_token_is_taken_that_claims_one() -> None:
    with pytest.raises(TokenInvalid):
        await UserTokens("", None).check(token())
    with pytest.raises(TokenInvalid):
        await UserTokens("", None).check(signed_by_hand({"alg": "HS256"}, {"sub": "ada"}, b""))


def test_services_and_runners_each_have_their_secret() -> None:
    services = ServiceTokens(signing.SECRETS)

    assert services.check(signing.service_token("graph")) == Caller("service:graph", Role.SERVICE)
    assert services.check(signing.runner_token()) == Caller("service:runner", Role.RUNNER)
    for wrong in (
        identity.service_token(signing.RUNNER_SECRET, "graph"),
        identity.service_token(signing.SERVICE_SECRET, "runner"),
        identity.service_token(SECRET, "graph"),
        identity.user_token(signing.SERVICE_SECRET, "ada", "admin", 60),
        token(role="admin"),
        token(secret=signing.SERVICE_SECRET, aud="blockyard-internal", sub="ada"),
        token(secret=signing.SERVICE_SECRET, aud="blockyard-internal", sub="service:"),
        token(secret=signing.SERVICE_SECRET, aud="blockyard-internal", sub="service:Graph"),
        token(secret=signing.SERVICE_SECRET, aud="blockyard-internal", sub=["service:graph"]),
    ):
        with pytest.raises(TokenInvalid):
            services.check(wrong)


async def test_a_service_is_no_user() -> None:
    for wrong in (signing.service_token(), signing.runner_token()):
        with pytest.raises(TokenInvalid):
            await USERS.check(wrong)


def test_a_service_token_that_has_expired_is_refused_though_it_was_known() -> None:
    services = ServiceTokens(Secrets("u" * 32, "s" * 32, "r" * 32))
    expired = token(secret="s" * 32, aud="blockyard-internal", sub="service:graph", exp=time.time() - 40)

    with pytest.raises(TokenExpired):
        services.check(expired)


@pytest.mark.parametrize("key", [RSA, EC, ED], ids=["RS256", "ES256", "EdDSA"])
async def test_tokens_of_the_provider_are_taken(key: SigningKey) -> None:
    async with provider(RSA, EC, ED) as (users, server):
        claims = await users.check(key.token(name="Ada", email="ada@example.org", role="viewer"))
        await users.check(key.token())

    assert (claims.user_id, claims.role, claims.name, claims.email) == (
        "auth0|ada",
        Role.VIEWER,
        "Ada",
        "ada@example.org",
    )
    assert server.requests == 1


async def test_a_secret_and_a_provider_may_both_be_in_use_and_take_nothing_of_each_other() -> None:
    async with provider(RSA, secret=SECRET) as (users, _):
        assert (await users.check(token())).user_id == "ada"
        assert (await users.check(RSA.token())).user_id == "auth0|ada"
        for wrong in (token(iss=ISSUER), RSA.token(iss="blockyard")):
            with pytest.raises(TokenInvalid):
                await users.check(wrong)


def hs256(key: bytes, headers: dict[str, Any]) -> str:
    """A token that is signed with whatever bytes, as a library that guards its users would refuse to."""
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "mallory", "role": "admin", "exp": time.time() + 600}
    parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (headers, claims)]
    signature = hmac.new(key, b".".join(parts), hashlib.sha256).digest()
    return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()


@pytest.mark.parametrize("secret", ["", SECRET], ids=["without a secret", "with a secret"])
async def test_a_public_key_is_no_secret(secret: str) -> None:
    public = RSA.private.public_key()
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        json.dumps(RSA.described()).encode(),
        b"",
    ]
    async with provider(RSA, secret=secret) as (users, _):
        await users.check(RSA.token())
        for form in forms:
            with pytest.raises(TokenInvalid):
                await users.check(hs256(form, {"alg": "HS256", "kid": "rsa-1"}))


async def test_the_algorithm_is_that_of_the_key() -> None:
    other = SigningKey("rsa-1", "RS512", RSA.private)
    padded = SigningKey("rsa-1", "PS256", RSA.private)
    wrong_id = SigningKey("rsa-1", "ES256", EC.private)
    async with provider(RSA, EC) as (users, _):
        for wrong in (other.token(), padded.token(), wrong_id.token()):
            with pytest.raises(TokenInvalid):
                await users.check(wrong)


async def test_keys_that_a_header_brings_along_mean_nothing() -> None:
    mallory = rsa_key("mallory")
    async with provider(RSA) as (users, server), KeyServer([mallory.described()]) as evil:
        for headers in (
            {"jku": evil.url},
            {"jwk": mallory.described()},
            {"x5u": evil.url},
            {"x5c": ["MIIB"]},
            {"jku": evil.url, "kid": "rsa-1"},
            {"kid": "../../../../dev/null"},
            {"kid": "' OR 1=1 --"},
            {"kid": evil.url},
            {"kid": ""},
        ):
            with pytest.raises(TokenInvalid):
                await users.check(mallory.token(headers))
        assert evil.requests == 0
        assert server.requests <= 2


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://idp.example.org"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": []},
        {"aud": None},
        {"exp": None},
        {"nbf": time.time() + 3600},
        {"sub": None},
        {"sub": "service:graph"},
        {"sub": 7},
    ],
)
async def test_claims_of_the_provider_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    async with provider(RSA) as (users, _):
        with pytest.raises(TokenInvalid):
            await users.check(RSA.token(**changes))
        assert (await users.check(RSA.token(aud=["other", AUDIENCE]))).user_id == "auth0|ada"


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"groups": ["staff", "ops"]}, Role.ADMIN),
        ({"groups": ["guests", "staff"]}, Role.USER),
        ({"groups": "guests"}, Role.VIEWER),
        ({"groups": "guests ops"}, Role.ADMIN),
        ({"groups": ["admin"]}, Role.VIEWER),
        ({"groups": {"ops": True}}, Role.VIEWER),
        ({}, Role.VIEWER),
    ],
)
async def test_the_role_is_found_where_the_provider_has_it(claims: dict[str, Any], role: Role) -> None:
    roles = {"ops": Role.ADMIN, "staff": Role.USER, "guests": Role.VIEWER}
    settings: dict[str, Any] = {"role_claim": "realm.groups", "roles": roles, "default_role": Role.VIEWER}
    async with provider(RSA, **settings) as (users, _):
        assert (await users.check(RSA.token(realm=claims))).role is role
        assert (await users.check(RSA.token(None, **{"realm.groups": ["ops"]}))).role is Role.ADMIN


async def test_where_no_role_is_given_by_default_a_token_without_one_is_refused() -> None:
    async with provider(RSA, default_role=None) as (users, _):
        with pytest.raises(PermissionDenied, match="names no role"):
            await users.check(RSA.token())


async def test_a_new_key_is_read_at_once_and_an_unknown_one_asks_once_in_ten_seconds() -> None:
    clock, new = Clock(), ec_key("new")
    async with provider(RSA, clock=clock) as (users, server):
        await users.check(RSA.token())
        server.keys.append(new.described())
        clock.now += 11

        assert (await users.check(new.token())).user_id == "auth0|ada"
        assert server.requests == 2
        for number in range(20):
            with pytest.raises(TokenInvalid):
                await users.check(ec_key(f"unknown-{number}").token())
        assert server.requests == 2
        clock.now += 11
        with pytest.raises(TokenInvalid):
            await users.check(ec_key("unknown").token())
        assert server.requests == 3


async def test_a_key_that_is_withdrawn_is_refused_after_the_next_reading() -> None:
    clock = Clock()
    async with provider(RSA, EC, clock=clock) as (users, server):
        await users.check(EC.token())
        server.keys = [RSA.described()]
        clock.now += 301
        await users.check(RSA.token())  # begins the reading, and goes on with what is known
        clock.now += 11
        with pytest.raises(TokenInvalid):
            await users.check(ec_key("wait for it").token())
        with pytest.raises(TokenInvalid):
            await users.check(EC.token())


async def test_keys_go_on_while_the_provider_is_away() -> None:
    clock = Clock()
    async with provider(RSA, clock=clock) as (users, server):
        await users.check(RSA.token())
        await server.stop()
        for _ in range(3):
            clock.now += 400
            assert (await users.check(RSA.token())).user_id == "auth0|ada"


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 500},
        {"status": 302, "headers": "location: http://127.0.0.1:1/\r\n"},
        {"body": b"<html>login</html>"},
        {"body": b"[]"},
        {"body": b'{"keys": 7}'},
        {"body": b"[" * 100_000},
        {"body": b'{"keys": [' + b" " * 300_000 + b"]}"},
        {"body": b"\xff\xfe"},
    ],
)
async def test_a_provider_in_trouble_takes_no_key_away_and_makes_none(trouble: dict[str, Any]) -> None:
    clock = Clock()
    async with provider(RSA, clock=clock) as (users, server):
        for name, value in trouble.items():
            setattr(server, name, value)
        with pytest.raises(KeysAway):
            await users.check(RSA.token())
        server.status, server.body, server.headers = 200, None, ""
        clock.now += 11
        await users.check(RSA.token())
        for name, value in trouble.items():
            setattr(server, name, value)
        clock.now += 400
        assert (await users.check(RSA.token())).user_id == "auth0|ada"
        clock.now += 11
        assert (await users.check(RSA.token())).user_id == "auth0|ada"


async def test_keys_that_are_of_no_use_are_left_out() -> None:
    weak, oct_ = (
        rsa_key("weak", 1024),
        {"kty": "oct", "kid": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2Vj", "alg": "HS256"},
    )
    async with provider(RSA) as (users, server):
        server.keys = [
            oct_,
            weak.described(),
            EC.described(use="enc"),
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {"kty": "EC", "kid": "curve", "crv": "P-256", "x": "AA", "y": "AA"},
            {"kid": "nothing"},
            RSA.described(alg=None),
            "text",  # type: ignore[list-item]
        ]
        assert (await users.check(RSA.token())).user_id == "auth0|ada"
        for wrong in (weak.token(), EC.token(), hs256(b"secretsecretsecretsecretsec", {"alg": "HS256", "kid": "oct"})):
            with pytest.raises(TokenInvalid):
                await users.check(wrong)


async def test_a_token_without_a_key_id_is_checked_by_the_only_key_for_it() -> None:
    async with provider(RSA, EC) as (users, server):
        bare = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": time.time() + 60}, EC.private, "ES256")
        assert (await users.check(bare)).user_id == "ada"
        assert server.requests == 1
