"""What credentials unlock, as values: a parameter of `run` that is annotated with one of them is given it.

Secrets print as ***. What the vault gives is an object with the secret's parts and what is known of the credential.
"""

import base64
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from blockyard.block.errors import BlockExecutionError

if TYPE_CHECKING:
    from blockyard.egress.targets import Target


class Credentials(BaseModel):
    """What is known of every credential, whatever its type."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    type: ClassVar[str]
    needed: ClassVar[str]
    """What it must have, in words."""

    id: str = ""
    provider: str = ""
    title: str = ""
    scopes: tuple[str, ...] = ()

    @classmethod
    def read(cls, unlocked: Any, pin: str = "credentials") -> Self:
        """From what a credential gives to a block; a BlockExecutionError, without secrets, if it is none of these."""
        if unlocked is None:
            raise BlockExecutionError(f"{pin}: missing: choose credentials of the type {cls.type}")
        try:
            return cls.model_validate(unlocked)
        except ValidationError as error:
            fields = ", ".join(sorted({str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}))
            raise BlockExecutionError(
                f"{pin}: expected a credential with {cls.needed}; look at {fields or 'its type'}"
            ) from None


class ApiKeyCredentials(Credentials):
    """One secret text."""

    type: ClassVar[str] = "api_key"
    needed: ClassVar[str] = "api_key"

    api_key: SecretStr

    def auth_header(self) -> str:
        """The value of an Authorization header."""
        return f"Bearer {self.api_key.get_secret_value()}"


class OAuth2Credentials(Credentials):
    """A token of an account at a provider. The vault refreshes it before it expires."""

    type: ClassVar[str] = "oauth2"
    needed: ClassVar[str] = "access_token"

    access_token: SecretStr
    token_type: str = "Bearer"

    def auth_header(self) -> str:
        """The value of an Authorization header."""
        # Providers write "bearer", and some servers take "Bearer" alone.
        kind = "Bearer" if self.token_type.lower() in ("", "bearer") else self.token_type
        return f"{kind} {self.access_token.get_secret_value()}"


class UserPasswordCredentials(Credentials):
    """A user name and a password, as mail servers and databases ask for them."""

    type: ClassVar[str] = "user_password"
    needed: ClassVar[str] = "username and password"

    username: SecretStr
    password: SecretStr

    @property
    def name(self) -> str:
        """The user name in the clear."""
        return self.username.get_secret_value()

    @property
    def key(self) -> str:
        """The password in the clear."""
        return self.password.get_secret_value()

    def auth_header(self) -> str:
        """The value of an Authorization header (HTTP's Basic authentication)."""
        return f"Basic {base64.b64encode(f'{self.name}:{self.key}'.encode()).decode()}"


class HostScopedCredentials(Credentials):
    """Headers for one host, or for all hosts below one (*.example.com), which it is not itself; with `:port` where that
    is an unusual one."""

    type: ClassVar[str] = "host_scoped"
    needed: ClassVar[str] = "host and headers"

    host: str
    headers: dict[str, SecretStr]

    def headers_for(self, target: "Target | str") -> dict[str, str]:
        """The headers for a request to a URL; none if these credentials are for another host."""
        # Not at the top: few blocks need it, and it needs what reads addresses of the web.
        from blockyard.egress.errors import EgressError
        from blockyard.egress.scopes import read_scope
        from blockyard.egress.targets import parse_target

        try:
            scope = read_scope(self.host)
        except EgressError as error:
            raise BlockExecutionError(f"credentials: host: {error}") from error
        if not scope.holds(parse_target(target) if isinstance(target, str) else target):
            return {}
        return {name: value.get_secret_value() for name, value in self.headers.items()}


CREDENTIAL_CLASSES: Mapping[str, type[Credentials]] = {
    one.type: one for one in (ApiKeyCredentials, OAuth2Credentials, UserPasswordCredentials, HostScopedCredentials)
}
"""By type."""


@dataclass(frozen=True, slots=True)
class CredentialsParameter:
    """A parameter of `run` that is annotated with types of credentials."""

    pin: str
    classes: Sequence[type[Credentials]]
    or_none: bool
    """Whether None stands for no credential."""
    has_default: bool

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Credentials | None]:
        """The argument, by the parameter's name; nothing if the default is to stand."""
        unlocked = given.get(self.pin)
        if unlocked is None:
            if self.or_none:
                return {} if self.has_default else {self.pin: None}
            wanted = " or ".join(one.type for one in self.classes)
            raise BlockExecutionError(f"{self.pin}: missing: choose credentials of the type {wanted}")
        return {self.pin: self._class_for(unlocked).read(unlocked, self.pin)}

    def _class_for(self, unlocked: Any) -> type[Credentials]:
        """By the type that it says it is of, or by what it has."""
        says = unlocked.get("type") if isinstance(unlocked, Mapping) else getattr(unlocked, "type", None)
        fitting = [one for one in self.classes if one.type == says]
        if not fitting and isinstance(unlocked, Mapping):
            fitting = [one for one in self.classes if _needed_parts(one) <= unlocked.keys()]
        if not fitting and len(self.classes) > 1:
            needed = " or ".join(one.needed for one in self.classes)
            raise BlockExecutionError(f"{self.pin}: expected a credential with {needed}; look at its type")
        return (fitting or list(self.classes))[0]


def _needed_parts(credentials: type[Credentials]) -> set[str]:
    return {name for name, field in credentials.model_fields.items() if field.is_required()}


def credentials_parameter(parameter: Parameter, run: Callable[..., Any]) -> CredentialsParameter | None:
    """What a parameter of `run` wants to be given; None if its annotation names no type of credentials."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = _evaluated(annotation, run)
    members = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    classes = [one for one in members if isinstance(one, type) and issubclass(one, Credentials)]
    if not classes:
        return None
    if Credentials in classes:
        classes = list(CREDENTIAL_CLASSES.values())
    has_default = parameter.default is not Parameter.empty
    return CredentialsParameter(parameter.name, classes, types.NoneType in members, has_default)


def _evaluated(annotation: str, run: Callable[..., Any]) -> Any:
    """A module with `from __future__ import annotations` has its annotations as text."""
    try:
        return eval(annotation, getattr(run, "__globals__", {}))
    # What cannot be evaluated names no type of ours: names of a class body, or of imports for type checkers alone.
    except Exception:  # noqa: BLE001 - an author may write anything there
        return None
