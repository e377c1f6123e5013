"""Users: who they are, what may be changed, and by whom."""

from typing import Any

import pytest
from blockyard.account.v1 import account_pb2
from blockyard.account.v1 import account_service_pb2 as messages
from blockyard.account.v1.identity_service_pb2 import GetContactsRequest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode

from tests.integration.account.service import Caller, Service
from tests.waiting import until

ADMIN, USER, VIEWER = account_pb2.USER_ROLE_ADMIN, account_pb2.USER_ROLE_USER, account_pb2.USER_ROLE_VIEWER


async def user_of(caller: Caller, user_id: str = "") -> account_pb2.User:
    answer = await caller.call("GetUser", messages.GetUserRequest(user_id=user_id))
    return answer.user  # type: ignore[no-any-return]


def update(**fields: Any) -> messages.UpdateUserRequest:
    return messages.UpdateUserRequest(update_mask=FieldMask(paths=list(fields)), **fields)


async def test_a_user_is_made_at_the_first_call(service: Service) -> None:
    user = await user_of(service.user("auth0|newcomer", "viewer"))

    assert (user.id, user.role, user.state) == ("auth0|newcomer", VIEWER, account_pb2.USER_STATE_ACTIVE)
    assert user.create_time.seconds > 0


@pytest.mark.parametrize(
    "user_id",
    ["auth0|123", "google-oauth2|1", "ann.b@example.org", "a:b", "f:uuid:ann", "x+y~z", "ann#EXT#@t", "u" * 100],
)
async def test_ids_of_identity_providers_are_taken(service: Service, user_id: str) -> None:
    assert (await user_of(service.user(user_id))).id == user_id


async def test_the_role_follows_the_token_until_an_administrator_sets_it(service: Service) -> None:
    assert (await user_of(service.user("climber", "viewer"))).role == VIEWER
    assert (await user_of(service.user("climber", "user"))).role == USER

    await service.admin().call("SetUserAccess", messages.SetUserAccessRequest(user_id="climber", role=VIEWER))

    assert (await user_of(service.user("climber", "admin"))).role == VIEWER


async def test_a_user_changes_their_own_fields(service: Service) -> None:
    caller = service.user("changer")

    await caller.call("UpdateUser", update(name="  Ada\t Lovelace ", email="ada@example.org", low_balance=5))
    await caller.call("UpdateUser", update(time_zone="Europe/Berlin"))

    user = await user_of(caller)
    assert (user.name, user.email, user.time_zone, user.low_balance) == (
        "Ada Lovelace",
        "ada@example.org",
        "Europe/Berlin",
        5,
    )


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (update(name="a" * 201), "name"),
        (update(name="bell\x07"), "name"),
        (update(email="nobody"), "email"),
        (update(email="a@b@c.org"), "email"),
        (update(email="a b@c.org"), "email"),
        (update(email="<a@b.org>"), "email"),
        (update(email="a@" + "b" * 260), "email"),
        (update(email="a@-b.org"), "email"),
        (update(time_zone="Mars/Olympus"), "time_zone"),
        (update(time_zone="../../../etc/passwd"), "time_zone"),
        (update(time_zone="localtime"), "time_zone"),
        (update(low_balance=-1), "low_balance"),
        (messages.UpdateUserRequest(update_mask=FieldMask(paths=["role"])), "update_mask"),
        (messages.UpdateUserRequest(update_mask=FieldMask(paths=["user_id"])), "update_mask"),
    ],
)
async def test_a_field_that_does_not_fit_is_named(
    service: Service, request_: messages.UpdateUserRequest, field: str
) -> None:
    refused = await service.user("misfit").refused("UpdateUser", request_)

    assert (refused.code, set(refused.fields)) == (StatusCode.INVALID_ARGUMENT, {field})


async def test_without_a_mask_what_is_set_is_changed(service: Service) -> None:
    caller = service.user("unmasked")
    await caller.call("UpdateUser", update(name="before", low_balance=5))

    changed = (await caller.call("UpdateUser", messages.UpdateUserRequest(name="after"))).user
    same = (await caller.call("UpdateUser", messages.UpdateUserRequest())).user

    assert (changed.name, changed.low_balance) == ("after", 5)
    assert same == changed


async def test_to_a_user_others_are_not_there(service: Service) -> None:
    await user_of(service.user("neighbour"))
    caller = service.user("curious")

    for request in ("neighbour", "nobody"):
        refused = await caller.refused("GetUser", messages.GetUserRequest(user_id=request))
        assert (refused.code, refused.reason) == (StatusCode.NOT_FOUND, "USER_NOT_FOUND")
    refused = await caller.refused("UpdateUser", messages.UpdateUserRequest(user_id="neighbour", name="x"))
    assert refused.code in (StatusCode.NOT_FOUND, StatusCode.INVALID_ARGUMENT)


async def test_an_administrator_makes_users_before_they_call(service: Service) -> None:
    admin = service.admin()
    request = messages.CreateUserRequest(user_id="made", name="Made", role=VIEWER, time_zone="Asia/Tokyo")

    made = (await admin.call("CreateUser", request)).user
    again = await admin.refused("CreateUser", request)

    assert (made.id, made.name, made.role, made.time_zone) == ("made", "Made", VIEWER, "Asia/Tokyo")
    assert (again.code, again.reason) == (StatusCode.ALREADY_EXISTS, "USER_EXISTS")
    assert (await user_of(service.user("made", "admin"))).role == VIEWER


@pytest.mark.parametrize(
    "user_id", ["", "a b", "a/b", "a*", "a>", "ü", "a\x00", "service:graph", "a" * 101, 'a"', "%2E"]
)
async def test_an_id_that_cannot_be_a_users_is_refused(service: Service, user_id: str) -> None:
    refused = await service.admin().refused("CreateUser", messages.CreateUserRequest(user_id=user_id))

    assert (refused.code, set(refused.fields)) == (StatusCode.INVALID_ARGUMENT, {"user_id"})


async def test_users_are_listed_by_pages_and_found_by_a_part_of_their_names(service: Service) -> None:
    admin = service.admin()
    for number in range(5):
        request = messages.CreateUserRequest(user_id=f"listed-{number}", name="Zoë Page", email=f"z{number}@page.org")
        await admin.call("CreateUser", request)

    pages, token = [], ""
    while True:
        request_ = messages.ListUsersRequest(page_size=2, page_token=token, query="ZOË")
        answer = await admin.call("ListUsers", request_)
        pages.append([user.id for user in answer.users])
        token = answer.next_page_token
        if not token:
            break

    assert pages == [["listed-0", "listed-1"], ["listed-2", "listed-3"], ["listed-4"]]
    by_mail = await admin.call("ListUsers", messages.ListUsersRequest(query="Z3@page"))
    assert [user.id for user in by_mail.users] == ["listed-3"]


async def test_a_page_token_is_good_for_its_query_alone(service: Service) -> None:
    admin = service.admin()
    for number in range(2):
        await admin.call("CreateUser", messages.CreateUserRequest(user_id=f"token-{number}"))
    first = await admin.call("ListUsers", messages.ListUsersRequest(page_size=1, query="token-"))

    refused = await admin.refused("ListUsers", messages.ListUsersRequest(page_token=first.next_page_token))

    assert refused.reason == "PAGE_TOKEN_INVALID"


async def test_a_disabled_user_is_refused_within_five_seconds_and_let_in_again(service: Service) -> None:
    caller, admin = service.user("banned"), service.admin()
    await user_of(caller)

    await admin.call(
        "SetUserAccess", messages.SetUserAccessRequest(user_id="banned", state=account_pb2.USER_STATE_DISABLED)
    )

    async def refused() -> str:
        try:
            await user_of(caller)
        except Exception as error:  # noqa: BLE001 - whatever it is, the promise below names it
            return str(error)
        return ""

    assert "disabled" in await until(refused, "the user is refused", seconds=5)
    await admin.call(
        "SetUserAccess", messages.SetUserAccessRequest(user_id="banned", state=account_pb2.USER_STATE_ACTIVE)
    )

    async def let_in() -> bool:
        return not await refused()

    await until(let_in, "the user is let in again", seconds=5)


@pytest.mark.parametrize(
    "request_",
    [
        messages.SetUserAccessRequest(user_id="root", role=USER),
        messages.SetUserAccessRequest(user_id="root", role=VIEWER),
        messages.SetUserAccessRequest(user_id="root", state=account_pb2.USER_STATE_DISABLED),
    ],
)
async def test_an_administrator_cannot_take_their_own_access_away(
    service: Service, request_: messages.SetUserAccessRequest
) -> None:
    refused = await service.admin().refused("SetUserAccess", request_)

    assert (refused.code, refused.reason) == (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    assert "their own" in refused.message


async def test_access_that_makes_no_sense_is_refused(service: Service) -> None:
    admin = service.admin()
    await user_of(service.user("plain"))

    nothing = await admin.refused("SetUserAccess", messages.SetUserAccessRequest(user_id="plain"))
    no_role = await admin.refused("SetUserAccess", messages.SetUserAccessRequest(user_id="plain", role=77))  # type: ignore[arg-type]
    no_state = await admin.refused("SetUserAccess", messages.SetUserAccessRequest(user_id="plain", state=77))  # type: ignore[arg-type]
    nobody = await admin.refused("SetUserAccess", messages.SetUserAccessRequest(user_id="nobody", role=USER))

    assert (set(nothing.fields), set(no_role.fields), set(no_state.fields)) == ({"role"}, {"role"}, {"state"})
    assert nobody.reason == "USER_NOT_FOUND"


async def test_when_a_user_called_last_is_noted_to_the_minute(service: Service) -> None:
    await user_of(service.user("seen"))

    async def seen() -> int:
        return (await user_of(service.admin(), "seen")).last_seen_time.seconds

    assert await until(seen, "the call is noted", seconds=20) % 60 == 0


async def test_other_services_are_told_how_users_are_reached(service: Service) -> None:
    reached = service.user("reached")
    await user_of(reached)
    await reached.call("UpdateUser", update(name="Ann", email="ann@example.org", time_zone="Europe/Berlin"))
    disabled = messages.SetUserAccessRequest(user_id="reached", state=account_pb2.USER_STATE_DISABLED)
    await service.admin().call("SetUserAccess", disabled)
    await user_of(service.user("unreached"))

    asked = GetContactsRequest(user_ids=["reached", "unreached", "nobody", "no id\0"])
    answer = await service.service().call("GetContacts", asked)
    too_many = await service.service().refused("GetContacts", GetContactsRequest(user_ids=["reached"] * 101))

    contacts = {one.user_id: (one.active, one.name, one.email, one.time_zone) for one in answer.contacts}
    assert contacts == {
        "reached": (False, "Ann", "ann@example.org", "Europe/Berlin"),
        "unreached": (True, "", "", ""),
    }
    assert set(too_many.fields) == {"user_ids"}
