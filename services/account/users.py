"""Users: who may look at and change whom, and what their fields may hold."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.account.errors import OwnAccess, UserExists, UserNotFound
from services.account.records import NewUser, User
from services.account.repository.users import CHANGEABLE, UserRepository
from services.common import audit
from services.common.errors import InvalidArgument, Violation
from services.common.identity import USER_ID_RULE, Caller, is_user_id
from services.common.permissions import Permission, Role
from services.common.time_zones import time_zones

LONGEST_NAME = 200
LONGEST_EMAIL = 254
LARGEST_LOW_BALANCE = 10**15
_EMAIL = re.compile(r"[^@\s<>\"'(),:;\\\[\]]{1,64}@[^@\s<>\"'(),:;\\\[\]]+")
_ACTION = "blockyard.account.v1.AccountService/"


@dataclass(frozen=True, slots=True)
class Users:
    """To all but administrators, others are not there."""

    repository: UserRepository

    async def get(self, caller: Caller, user_id: str) -> User:
        """A user."""
        user = await self.repository.get(whose(caller, user_id))
        if user is None:
            raise UserNotFound
        return user

    async def page(self, query: str, after: str, limit: int) -> Sequence[User]:
        """Users by id."""
        return await self.repository.page(query.strip(), after, limit)

    async def update(self, caller: Caller, user_id: str, changes: Mapping[str, str | int]) -> User:
        """Changes a user's fields."""
        user_id = whose(caller, user_id)
        if not changes:
            return await self.get(caller, user_id)
        checked = _checked(changes)
        # Which fields, and not what they hold: names and addresses are no matter of the log.
        entry = audit.entry(_ACTION + "UpdateUser", f"users/{user_id}", {"fields": ", ".join(sorted(checked))})
        user = await self.repository.update(user_id, checked, entry)
        if user is None:
            raise UserNotFound
        return user

    async def create(self, new: NewUser) -> User:
        """Makes a user before their first call."""
        if not is_user_id(new.user_id):
            raise InvalidArgument(violations=[Violation("user_id", USER_ID_RULE)])
        fields = _checked({"name": new.name, "email": new.email, "time_zone": new.time_zone})
        entry = audit.entry(_ACTION + "CreateUser", f"users/{new.user_id}", {"role": new.role.value})
        made = await self.repository.insert(
            NewUser(
                new.user_id,
                new.role,
                new.role_set,
                name=str(fields["name"]),
                email=str(fields["email"]),
                time_zone=new.time_zone,
            ),
            entry,
        )
        if made is None:
            raise UserExists
        return made

    async def set_access(self, caller: Caller, user_id: str, role: Role | None, active: bool | None) -> User:
        """Sets role and state of a user."""
        if not is_user_id(user_id):
            raise UserNotFound
        if user_id == caller.user_id and (role not in (None, Role.ADMIN) or active is False):
            raise OwnAccess
        details = {"role": role.value} if role is not None else {}
        if active is not None:
            details["state"] = "active" if active else "disabled"
        entry = audit.entry(_ACTION + "SetUserAccess", f"users/{user_id}", details)
        user = await self.repository.set_access(user_id, role, active, entry)
        if user is None:
            raise UserNotFound
        return user


def whose(caller: Caller, user_id: str) -> str:
    """Whom a request is about; empty means the caller."""
    if not user_id or user_id == caller.user_id:
        return caller.user_id
    if Permission.MANAGE_USERS not in caller.permissions or not is_user_id(user_id):
        raise UserNotFound
    return user_id


def cleaned_name(text: str) -> str:
    """A name as it is kept: one form of each letter, and no space where none is seen."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _checked(changes: Mapping[str, str | int]) -> dict[str, str | int]:
    checked: dict[str, str | int] = dict(changes)
    violations: list[Violation] = []
    if isinstance(name := changes.get("name"), str):
        checked["name"] = cleaned = cleaned_name(name)
        if len(cleaned) > LONGEST_NAME or not cleaned.isprintable():
            violations.append(Violation("name", f"expected at most {LONGEST_NAME} characters that can be printed"))
    if isinstance(email := changes.get("email"), str):
        checked["email"] = email = email.strip()
        if email and not _is_email(email):
            violations.append(Violation("email", f"expected an e-mail address, got {email[:60]!r}"))
    if isinstance(zone := changes.get("time_zone"), str) and zone and zone not in time_zones():
        problem = f'expected a name of the IANA database such as "Europe/Berlin", got {zone[:60]!r}'
        violations.append(Violation("time_zone", problem))
    if isinstance(low := changes.get("low_balance"), int) and not 0 <= low <= LARGEST_LOW_BALANCE:
        violations.append(Violation("low_balance", f"expected 0 to {LARGEST_LOW_BALANCE}, got {low}"))
    if violations:
        raise InvalidArgument(violations=violations)
    assert checked.keys() <= set(CHANGEABLE), "api.py takes no others"
    return checked


def _is_email(text: str) -> bool:
    domain = text.rpartition("@")[2]
    parts = domain.split(".")
    fits = len(text) <= LONGEST_EMAIL and text.isprintable() and _EMAIL.fullmatch(text) is not None
    return fits and all(parts) and not any(part.startswith("-") or part.endswith("-") for part in parts)
