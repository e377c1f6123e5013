"""The table of who may do what, compared with every method of every proto."""

import importlib
from pathlib import Path

import blockyard
import pytest
from blockyard.account.v1 import account_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from services.common import identity, permissions
from services.common.audit_resources import AUDITED_BY_THEMSELVES, RESOURCES
from services.common.errors import PermissionDenied
from services.common.identity import Caller
from services.common.interceptors import AUDITED
from services.common.permissions import INTERNAL, PERMISSIONS, ROLES, CallClass, Permission, Role, call_class

GET_GRAPH = "/blockyard.graph.v1.GraphService/GetGraph"
CREATE_GRAPH = "/blockyard.graph.v1.GraphService/CreateGraph"
CHECK_RUNS = "/blockyard.runner.v1.TaskService/CheckRuns"
LEASE = "/blockyard.runner.v1.LeaseService/LeaseCredentials"


def methods() -> dict[str, MethodDescriptor]:
    """Every method of every service of the contract, and of those that every server has."""
    contract = Path(blockyard.__file__).parent
    files = [
        importlib.import_module(".".join(("blockyard", *path.relative_to(contract).with_suffix("").parts))).DESCRIPTOR
        for path in contract.glob("*/v1/*_pb2.py")
    ] + [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    return {
        f"/{service.full_name}/{method.name}": method
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }


def is_text(message: Descriptor | None, path: str) -> bool:
    """Whether a path of fields ends at a text."""
    for name in path.split("."):
        assert message is not None, path
        field = message.fields_by_name[name]
        message = field.message_type
    return field.type == FieldDescriptor.TYPE_STRING


def test_every_method_of_every_service_names_its_permission() -> None:
    listed = methods()

    assert listed.keys() <= PERMISSIONS.keys()
    assert {name for name in PERMISSIONS.keys() - listed.keys() if "blockyard" in name} == set()


def test_every_method_of_users_has_its_class_and_no_other_has_one() -> None:
    for method, permission in PERMISSIONS.items():
        exempt = permission in INTERNAL or permission is Permission.PUBLIC
        assert (call_class(method) is None) is exempt, method

    assert call_class(GET_GRAPH) is CallClass.READ
    assert call_class(CREATE_GRAPH) is CallClass.WRITE
    assert call_class("/blockyard.execution.v1.ExecutionService/RunBlock") is CallClass.START
    assert call_class("/blockyard.execution.v1.ExecutionService/StopExecution") is CallClass.WRITE
    assert call_class("/blockyard.account.v1.AccountService/ListAuditEntries") is CallClass.ADMIN
    assert call_class("/blockyard.graph.v1.GraphService/Forgotten") is None


def test_permissions_have_the_same_names_as_in_the_contract() -> None:
    in_contract = {name.removeprefix("PERMISSION_") for name, _ in account_pb2.Permission.items()} - {"UNSPECIFIED"}

    assert in_contract == {one.name for one in Permission} - {"PUBLIC", "SERVICE", "RUNNER"}


def test_internal_services_are_for_services_and_few_of_their_methods_for_runners() -> None:
    internal_services = ("/blockyard.runner.", "/blockyard.account.v1.IdentityService", "/blockyard.account.v1.Ledger")
    internal = {method for method in PERMISSIONS if method.startswith(internal_services)}

    assert internal == {method for method, one in PERMISSIONS.items() if one in INTERNAL}
    assert {method.rpartition("/")[2] for method in internal if PERMISSIONS[method] is Permission.RUNNER} == {
        "RegisterBlocks",
        "GetValue",
        "PutValue",
        "LeaseCredentials",
    }
    for role in (Role.ADMIN, Role.USER, Role.VIEWER):
        assert not ROLES[role] & INTERNAL


def test_each_role_has_what_the_one_below_it_has() -> None:
    assert ROLES[Role.VIEWER] < ROLES[Role.USER] < ROLES[Role.ADMIN]
    assert ROLES[Role.RUNNER] < ROLES[Role.SERVICE]


def test_every_method_that_is_audited_names_its_resource() -> None:
    listed = methods()
    audited = {method for method in listed if call_class(method) in AUDITED}

    assert audited == RESOURCES.keys()
    assert audited >= AUDITED_BY_THEMSELVES
    for method, (kind, asked, answered) in RESOURCES.items():
        assert not asked or is_text(listed[method].input_type, asked), method
        assert not answered or is_text(listed[method].output_type, answered), method
        assert bool(kind) == bool(asked or answered)


def test_viewers_read_and_do_not_write() -> None:
    viewer = Caller("ada", Role.VIEWER)

    identity.authorise(viewer, GET_GRAPH)
    with pytest.raises(PermissionDenied, match='role "viewer" may not call CreateGraph'):
        identity.authorise(viewer, CREATE_GRAPH)


def test_a_key_narrows_what_its_user_may_and_widens_nothing() -> None:
    key = frozenset({Permission.READ_GRAPHS, Permission.MANAGE_USERS})

    identity.authorise(Caller("ada", Role.USER, "key", key), GET_GRAPH)
    with pytest.raises(PermissionDenied, match="API key may not call CreateGraph: it was made without WRITE_GRAPHS"):
        identity.authorise(Caller("ada", Role.USER, "key", key), CREATE_GRAPH)
    with pytest.raises(PermissionDenied, match='role "user" may not call ListUsers'):
        identity.authorise(Caller("ada", Role.USER, "key", key), "/blockyard.account.v1.AccountService/ListUsers")


def test_runners_call_what_is_marked_for_them() -> None:
    runner = Caller("service:runner", Role.RUNNER)

    identity.authorise(runner, LEASE)
    identity.authorise(Caller("service:execution", Role.SERVICE), LEASE)
    with pytest.raises(PermissionDenied):
        identity.authorise(runner, CHECK_RUNS)


@pytest.mark.parametrize("role", list(Role))
def test_a_method_that_nobody_listed_is_refused_to_all(role: Role) -> None:
    with pytest.raises(PermissionDenied):
        identity.authorise(Caller("ada", role), "/blockyard.graph.v1.GraphService/Forgotten")


def test_methods_that_are_open_to_all_are_health_and_reflection_and_what_brings_a_proof_of_its_own() -> None:
    public = {method.split("/")[1] for method in PERMISSIONS if permissions.is_public(method)}

    assert public == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
        "blockyard.execution.v1.TriggerService",
        "blockyard.notification.v1.PreferenceService",
    }
    ours = {method for method in PERMISSIONS if permissions.is_public(method) and method.startswith("/blockyard.")}
    assert ours == {
        "/blockyard.execution.v1.TriggerService/ReceiveWebhook",
        "/blockyard.notification.v1.PreferenceService/Unsubscribe",
    }
