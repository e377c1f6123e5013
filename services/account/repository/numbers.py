"""How roles, states and permissions are numbered in tables: as in the contract."""

from collections.abc import Iterable

from blockyard.account.v1.account_pb2 import USER_STATE_ACTIVE, USER_STATE_DISABLED

from services.common.callers import PERMISSION_NUMBERS, PERMISSIONS_BY_NUMBER, ROLE_NUMBERS, ROLES
from services.common.permissions import Permission, Role


def number_of_role(role: Role) -> int:
    """A role's number."""
    return ROLE_NUMBERS[role]


def role_of(number: int) -> Role:
    """The role with a number that a table has."""
    return next(role for known, role in ROLES.items() if known == number)


def number_of_state(active: bool) -> int:
    """A state's number."""
    return USER_STATE_ACTIVE if active else USER_STATE_DISABLED


def is_active(number: int) -> bool:
    """Whether it is the number of users who may call."""
    return number == USER_STATE_ACTIVE


def numbers_of(permissions: Iterable[Permission]) -> list[int]:
    """The numbers of permissions, in order."""
    return sorted(PERMISSION_NUMBERS[permission] for permission in permissions)


def permissions_of(numbers: Iterable[int]) -> frozenset[Permission]:
    """Permissions with these numbers; one that this release does not know gives nothing."""
    known = {int(number): permission for number, permission in PERMISSIONS_BY_NUMBER.items()}
    return frozenset(known[number] for number in numbers if number in known)
