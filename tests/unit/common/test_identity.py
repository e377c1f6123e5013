"""Tokens, and what their holders may call."""

import importlib
import time
from pathlib import Path
from typing import Any

import blockyard
import jwt
import pytest
from blockyard.common.v1 import errors_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.common import identity, permissions
from services.common.errors import PermissionDenied
from services.common.identity import Caller, Role, TokenExpired, TokenInvalid, TokenMissing
from services.common.permissions import PERMISSIONS, Permission

SECRET = "s" * 32
GET_GRAPH = "/blockyard.graph.v1.GraphService/GetGraph"
CREATE_GRAPH = "/blockyard.graph.v1.GraphService/CreateGraph"
REGISTER = "/blockyard.runner.v1.CatalogueService/RegisterBlocks"


def token(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {"iss": "blockyard", "aud": "blockyard", "sub": "ada", "role": "user", "exp": time.time() + 3600}
    claims.update(changes)
    return jwt.encode({name: claim for name, claim in claims.items() if claim is not None}, secret, algorithm)


def test_a_user_token_names_its_user_and_role() -> None:
    signed = identity.user_token(SECRET, "ada@example.org", "viewer", life=60)

    assert identity.verify_user(SECRET, f"Bearer {signed}") == Caller("ada@example.org", Role.VIEWER)


def test_a_token_is_good_for_half_a_minute_after_its_end() -> None:
    assert identity.verify_user(SECRET, f"bearer {token(exp=time.time() - 20)}").user_id == "ada"
    with pytest.raises(TokenExpired):
        identity.verify_user(SECRET, f"Bearer {token(exp=time.time() - 40)}")


@pytest.mark.parametrize("authorization", [None, ""])
def test_no_token_is_missing(authorization: str | None) -> None:
    with pytest.raises(TokenMissing) as refused:
        identity.verify_user(SECRET, authorization)
    assert refused.value.reason == errors_pb2.ERROR_REASON_TOKEN_MISSING


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic YWRhOmFkYQ==",
        "Bearer not.a.token",
        "Bearer " + token(secret="t" * 32),
        "Bearer " + token(secret="s" * 64, algorithm="HS512"),
        "Bearer " + token(secret="", algorithm="none"),
        "Bearer " + token(iss="somebody"),
        "Bearer " + token(aud="blockyard-internal"),
        "Bearer " + token(aud=None),
        "Bearer " + token(exp=None),
        "Bearer " + token(sub=None),
        "Bearer " + token(sub=""),
        "Bearer " + token(sub="a" * 101),
        "Bearer " + token(sub="ada lovelace"),
        "Bearer " + token(sub="service:graph"),
        "Bearer " + token(role=None),
        "Bearer " + token(role="service"),
        "Bearer " + token(role="root"),
        "Bearer " + token(role=["admin"]),
    ],
)
def test_a_token_that_does_not_fit_is_invalid(authorization: str) -> None:
    with pytest.raises(TokenInvalid):
        identity.verify_user(SECRET, authorization)


def test_a_user_is_no_service_and_a_service_no_user() -> None:
    service = identity.service_token(SECRET, "runner")

    assert permissions.authorise(SECRET, REGISTER, f"Bearer {service}") == Caller("service:runner", Role.SERVICE)
    with pytest.raises(TokenInvalid):
        permissions.authorise(SECRET, GET_GRAPH, f"Bearer {service}")
    with pytest.raises(TokenInvalid):
        permissions.authorise(SECRET, REGISTER, f"Bearer {token(role='admin')}")


def test_viewers_read_and_do_not_write() -> None:
    viewer = f"Bearer {token(role='viewer')}"

    assert permissions.authorise(SECRET, GET_GRAPH, viewer).role is Role.VIEWER
    with pytest.raises(PermissionDenied, match='role "viewer" may not call CreateGraph'):
        permissions.authorise(SECRET, CREATE_GRAPH, viewer)


def test_a_method_that_nobody_listed_is_refused_to_all() -> None:
    with pytest.raises(PermissionDenied):
        permissions.authorise(SECRET, "/blockyard.graph.v1.GraphService/Forgotten", f"Bearer {token(role='admin')}")


def test_every_method_of_every_service_names_its_permission() -> None:
    contract = Path(blockyard.__file__).parent
    files = [
        importlib.import_module(".".join(("blockyard", *path.relative_to(contract).with_suffix("").parts))).DESCRIPTOR
        for path in contract.glob("*/v1/*_pb2.py")
    ] + [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    methods = {
        f"/{service.full_name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }

    assert methods <= PERMISSIONS.keys()
    assert {name for name in PERMISSIONS.keys() - methods if "blockyard" in name} == set()


def test_internal_services_are_for_services() -> None:
    internal = {permission for method, permission in PERMISSIONS.items() if method.startswith("/blockyard.runner.")}

    assert internal == {Permission.SERVICE}
    assert all(Permission.SERVICE not in permissions.ROLES[role] for role in Role if role is not Role.SERVICE)
