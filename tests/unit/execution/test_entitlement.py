"""For whom something may be started while they do not call."""

from dataclasses import dataclass, field

from blockyard.account.v1.account_pb2 import USER_ROLE_USER, USER_ROLE_VIEWER
from blockyard.account.v1.identity_service_pb2 import IdentifyRequest, IdentifyResponse

from services.execution.entitlement import DISABLED, MAY_NOT, Entitlement


@dataclass(eq=False)
class Users:
    """An account service with these users."""

    users: dict[str, IdentifyResponse]
    asked: list[str] = field(default_factory=list)

    async def identify(self, request: IdentifyRequest) -> IdentifyResponse:
        self.asked.append(request.user_id)
        return self.users.get(request.user_id, IdentifyResponse())


def user(**fields: object) -> IdentifyResponse:
    answer = IdentifyResponse(**{"known": True, "active": True, "role": USER_ROLE_USER, **fields})  # type: ignore[arg-type]  # fields of the message
    answer.valid.FromMilliseconds(5_000)
    return answer


async def test_users_who_are_disabled_or_may_not_start_are_refused_and_others_are_not() -> None:
    users = Users({"anna": user(), "berta": user(active=False), "carla": user(role=USER_ROLE_VIEWER)})
    entitlement = Entitlement(users)
    refusals = [await entitlement.refusal(name) for name in ("anna", "berta", "carla", "not known")]
    assert refusals == ["", DISABLED, MAY_NOT, ""]
    assert await Entitlement(None).refusal("anna") == ""


async def test_an_answer_is_kept_for_as_long_as_it_holds() -> None:
    users = Users({"anna": user()})
    entitlement = Entitlement(users)
    for _ in range(3):
        await entitlement.refusal("anna")
    assert users.asked == ["anna"]
    users.users["anna"].valid.FromMilliseconds(0)
    other = Entitlement(users)
    await other.refusal("anna")
    await other.refusal("anna")
    assert users.asked == ["anna"] * 3
