"""What credentials unlock comes to `run` as the type that its parameter is annotated with, and shows no secret."""

from typing import Any

import pytest
from blockyard.block import (
    ApiKeyCredentials,
    Block,
    BlockExecutionError,
    BlockInputError,
    BlockOutput,
    BlockSchema,
    Credentials,
    CredentialsField,
    CredentialsReference,
    CredentialsRequirement,
    HostScopedCredentials,
    Item,
    OAuth2Credentials,
    SchemaField,
    SyncBlockOutput,
    UserPasswordCredentials,
)
from blockyard.block.requirements import requirements_of
from blockyard.block.testing import check_block
from blockyard.egress import EgressError
from pydantic import SecretStr

KNOWN = {"id": "c-1", "provider": "github", "title": "Mine", "scopes": ["repo"]}
API_KEY = {**KNOWN, "type": "api_key", "api_key": "sesame-key"}
OAUTH2 = {**KNOWN, "type": "oauth2", "access_token": "sesame-token", "token_type": "bearer"}
USER = {**KNOWN, "type": "user_password", "username": "ada", "password": "sesame-word"}
HOST = {**KNOWN, "type": "host_scoped", "host": "*.example.com", "headers": {"X-Key": "sesame-header"}}
REFERENCE = {"id": "c-1", "provider": "github", "type": "api_key"}


class Input(BlockSchema):
    credentials: CredentialsReference | None = CredentialsField(
        provider="github", types=["api_key", "oauth2", "user_password", "host_scoped"], default=None
    )


class Output(BlockSchema):
    value: Any = SchemaField(description="What `run` was given.")
    error: str = SchemaField(description="Why the block failed.")


class TakesBlockBase(Block):
    """A block whose `run` yields what it is given."""

    def __init__(self) -> None:
        super().__init__(
            id="6c1b5f1e-8f0c-4a79-9d0e-0a5a4e1b2d01",
            input_schema=Input,
            output_schema=Output,
            test_input={"credentials": REFERENCE},
            test_output=("value", "api_key"),
            test_credentials={"credentials": API_KEY},
        )


class KeyBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: ApiKeyCredentials) -> BlockOutput:
        yield "value", credentials.type


class OptionalBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: ApiKeyCredentials | None) -> BlockOutput:
        yield "value", credentials and credentials.type


class DefaultBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: OAuth2Credentials | None = None) -> BlockOutput:
        yield "value", credentials and credentials.type


class EitherBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: ApiKeyCredentials | OAuth2Credentials) -> BlockOutput:
        yield "value", credentials.type


class EveryBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: Credentials) -> BlockOutput:
        yield "value", credentials.type


class TextAnnotationBlock(TakesBlockBase):
    # As a module with `from __future__ import annotations` has it.
    async def run(self, input_data: "Input", *, credentials: "ApiKeyCredentials | None") -> BlockOutput:
        yield "value", credentials and credentials.type


class ThreadBlock(TakesBlockBase):
    def run(self, input_data: Input, credentials: ApiKeyCredentials) -> SyncBlockOutput:
        yield "value", credentials.type


class ProcessBlock(ThreadBlock):
    cpu_bound = True


class MappingBlock(TakesBlockBase):
    async def run(self, input_data: Input, *, credentials: Any) -> BlockOutput:
        yield "value", dict(credentials)


async def outputs(block: Block, unlocked: Any = None) -> list[Item]:
    given = {} if unlocked is None else {"credentials": unlocked}
    return [item async for item in block.execute({}, credentials=given)]


@pytest.mark.parametrize("block", [KeyBlock, OptionalBlock, EitherBlock, EveryBlock, TextAnnotationBlock, ThreadBlock])
async def test_an_annotated_parameter_is_given_its_type(block: type[TakesBlockBase]) -> None:
    assert await outputs(block(), API_KEY) == [("value", "api_key")]


def test_a_run_in_a_process_is_given_its_type() -> None:
    assert list(ProcessBlock().execute_blocking({}, credentials={"credentials": API_KEY})) == [("value", "api_key")]


@pytest.mark.parametrize(("unlocked", "kind"), [(API_KEY, "api_key"), (OAUTH2, "oauth2")])
async def test_of_several_types_the_credential_tells_which(unlocked: Any, kind: str) -> None:
    assert await outputs(EitherBlock(), unlocked) == [("value", kind)]
    without_type = {name: value for name, value in unlocked.items() if name != "type"}
    assert await outputs(EitherBlock(), without_type) == [("value", kind)]


@pytest.mark.parametrize("unlocked", [API_KEY, OAUTH2, USER, HOST])
async def test_the_common_type_takes_every_credential(unlocked: Any) -> None:
    assert await outputs(EveryBlock(), unlocked) == [("value", unlocked["type"])]


@pytest.mark.parametrize("block", [OptionalBlock, DefaultBlock, TextAnnotationBlock])
async def test_a_parameter_that_may_be_none_is_none_without_a_credential(block: type[TakesBlockBase]) -> None:
    assert await outputs(block()) == [("value", None)]


@pytest.mark.parametrize("block", [KeyBlock, ThreadBlock])
async def test_a_parameter_that_must_be_given_fails_the_run_without_a_credential(block: type[TakesBlockBase]) -> None:
    with pytest.raises(BlockExecutionError, match="credentials: missing: choose credentials of the type api_key"):
        await outputs(block())


async def test_another_type_is_refused_without_its_secret() -> None:
    with pytest.raises(BlockExecutionError, match="expected a credential with api_key; look at api_key") as refused:
        await outputs(KeyBlock(), USER)
    assert "sesame" not in str(refused.value)


async def test_a_parameter_of_any_type_is_given_the_object() -> None:
    assert await outputs(MappingBlock(), API_KEY) == [("value", API_KEY)]


async def test_a_value_of_the_type_is_taken_as_it_is() -> None:
    assert await outputs(KeyBlock(), ApiKeyCredentials(api_key=SecretStr("k"))) == [("value", "api_key")]


@pytest.mark.parametrize("value", [{"api_key": "sesame"}, "sesame", {**REFERENCE, "id": ["sesame"]}, ["sesame"]])
def test_what_stands_in_the_place_of_a_reference_is_never_repeated(value: Any) -> None:
    with pytest.raises(BlockInputError, match=r"inputs\.credentials") as refused:
        KeyBlock().parse_input({"credentials": value})
    complaints = [str(refused.value), *Input.validate_data({"credentials": value})]
    complaints.append(str(Input.validate_field("credentials", value)))
    assert all(complaint and "sesame" not in complaint for complaint in complaints)


@pytest.mark.parametrize("block", [KeyBlock, ThreadBlock])
async def test_credentials_of_a_blocks_tests_come_as_their_type(block: type[TakesBlockBase]) -> None:
    await check_block(block())


@pytest.mark.parametrize(
    "credentials",
    [
        ApiKeyCredentials.read(API_KEY),
        OAuth2Credentials.read(OAUTH2),
        UserPasswordCredentials.read(USER),
        HostScopedCredentials.read(HOST),
    ],
)
def test_secrets_print_as_stars(credentials: Credentials) -> None:
    for text in (repr(credentials), str(credentials), f"{credentials}", credentials.model_dump_json()):
        assert "sesame" not in text
        assert "***" in text
    assert (credentials.id, credentials.provider, credentials.title) == ("c-1", "github", "Mine")
    assert credentials.scopes == ("repo",)


def test_credentials_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ApiKeyCredentials.read(API_KEY).api_key = SecretStr("other")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (ApiKeyCredentials.read(API_KEY).auth_header(), "Bearer sesame-key"),
        (OAuth2Credentials.read(OAUTH2).auth_header(), "Bearer sesame-token"),
        (OAuth2Credentials.read({**OAUTH2, "token_type": "MAC"}).auth_header(), "MAC sesame-token"),
        (OAuth2Credentials.read({**OAUTH2, "token_type": ""}).auth_header(), "Bearer sesame-token"),
        # "ada:sesame-word"
        (UserPasswordCredentials.read(USER).auth_header(), "Basic YWRhOnNlc2FtZS13b3Jk"),
    ],
)
def test_the_header_of_an_authorization_is_ready_made(header: str, expected: str) -> None:
    assert header == expected


def test_headers_are_for_their_hosts_alone() -> None:
    credentials = HostScopedCredentials.read(HOST)
    assert credentials.headers_for("https://api.example.com/x") == {"X-Key": "sesame-header"}
    assert credentials.headers_for("https://example.com/x") == {}
    assert credentials.headers_for("https://example.com.evil.org/") == {}
    with pytest.raises(EgressError, match="user name or password"):
        credentials.headers_for("https://api.example.com@evil.org/")


@pytest.mark.parametrize("host", ["https://api.example.com", "", "a b", "*.127.0.0.1", "me@example.com", "a.example:x"])
def test_a_host_that_is_none_is_told(host: str) -> None:
    with pytest.raises(BlockExecutionError, match="credentials: host: "):
        HostScopedCredentials.read({**HOST, "host": host}).headers_for("https://api.example.com/")


MODEL = CredentialsRequirement(
    providers=("openai", "anthropic", "groq"),
    types=("api_key",),
    discriminator="config.model",
    discriminator_mapping={"gpt-4o": "openai", "claude*": "anthropic", "claude-groq*": "groq"},
    named_only=True,
)


@pytest.mark.parametrize(
    ("value", "providers"),
    [
        ("gpt-4o", ("openai",)),
        ("gpt-4o-mini", MODEL.providers),
        ("claude-3", ("anthropic",)),
        ("claude-groq-1", ("groq",)),
        (None, MODEL.providers),
        (7, MODEL.providers),
        ("", MODEL.providers),
    ],
)
def test_the_value_picks_the_provider(value: Any, providers: tuple[str, ...]) -> None:
    assert MODEL.providers_for(value) == providers


def test_dots_lead_into_objects() -> None:
    assert MODEL.picked_value({"config": {"model": "gpt-4o"}}) == "gpt-4o"
    assert MODEL.picked_value({"config": {"other": 1}}) is None
    assert MODEL.picked_value({"config": "gpt-4o"}) is None
    assert MODEL.picked_value({}) is None
    assert CredentialsRequirement(("a",), ("api_key",)).picked_value({"a": 1}) is None


class PickInput(BlockSchema):
    config: dict[str, Any] = SchemaField(description="Which model.")
    url: str = SchemaField(description="Where to.")
    credentials: CredentialsReference = CredentialsField(
        provider=MODEL.providers,
        types=MODEL.types,
        discriminator=MODEL.discriminator,
        discriminator_mapping=MODEL.discriminator_mapping,
        named_only=MODEL.named_only,
    )
    web_credentials: CredentialsReference | None = CredentialsField(
        provider="http", types=["host_scoped"], discriminator="url", default=None
    )


def test_a_requirement_goes_into_the_json_schema_and_back() -> None:
    wanted = PickInput.get_credentials_fields()
    assert wanted["credentials"] == MODEL
    assert requirements_of(PickInput.jsonschema()) == wanted
    marks = PickInput.jsonschema()["properties"]["web_credentials"]
    assert marks["credentials_discriminator"] == "url"
    assert "credentials_discriminator_mapping" not in marks
    assert "credentials_named_only" not in marks


def test_values_of_a_mapping_may_be_called_as_keywords_of_json_schema_are() -> None:
    class Keyword(BlockSchema):
        kind: str = SchemaField(description="Which.")
        credentials: CredentialsReference = CredentialsField(
            provider=["a", "b"],
            types=["api_key"],
            discriminator="kind",
            discriminator_mapping={"title": "a", "anyOf": "b", "default": "a"},
        )

    mapping = Keyword.jsonschema()["properties"]["credentials"]["credentials_discriminator_mapping"]
    assert mapping == {"title": "a", "anyOf": "b", "default": "a"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": []},
        {"properties": {"credentials": True, "text": {"type": "string"}}},
        {"properties": {"text": {"credentials_types": ["api_key"]}}},
    ],
)
def test_a_schema_without_credentials_asks_for_none(schema: Any) -> None:
    assert requirements_of(schema) == {}


def test_marks_of_other_forms_do_no_harm() -> None:
    marks = {
        "credentials_provider": "github",
        "credentials_types": {"a": 1},
        "credentials_discriminator": 7,
        "credentials_discriminator_mapping": {"a": 1, "b": "github"},
    }
    assert requirements_of({"properties": {"credentials": marks}}) == {
        "credentials": CredentialsRequirement(("github",), (), (), "", {"b": "github"})
    }
