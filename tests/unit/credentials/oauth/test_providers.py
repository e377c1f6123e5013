"""Providers are data: those that come with the vault are sound, and an operator is told what is wrong with others."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pydantic import SecretStr, ValidationError

from services.common.errors import StartRefused
from services.credentials.config import CredentialsSettings
from services.credentials.errors import ProviderNotConfigured
from services.credentials.providers import Providers
from services.credentials.providers.definitions import ProviderDefinition
from services.credentials.providers.loading import MAX_FILE_BYTES, load_definitions
from tests.signing import SETTINGS

STARTERS = {"github", "google", "notion", "discord", "reddit", "todoist", "x", "linear", "slack"}
GOOD: dict[str, Any] = {
    "name": "acme",
    "title": "Acme",
    "types": ["api_key", "oauth2"],
    "oauth2": {"authorization_url": "https://acme.example/auth", "token_url": "https://acme.example/token"},
    "checks": {"api_key": {"url": "https://acme.example/me", "headers": {"Authorization": "Bearer {api_key}"}}},
}


def load(folder: Path, content: object = GOOD, name: str = "acme.yaml") -> dict[str, ProviderDefinition]:
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (folder / name).write_text(text)
    return load_definitions(folder)


def changed(place: str, value: object) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(GOOD))
    *sections, last = place.split(".")
    section = content
    for name in sections:
        section = section.setdefault(name, {})
    section[last] = value
    return content


def test_the_starters_come_with_the_vault() -> None:
    found = load_definitions(None)
    assert {name for name, definition in found.items() if definition.oauth2 is not None} >= STARTERS
    assert {"openai", "anthropic", "groq", "openrouter", "github"} <= {
        name for name, definition in found.items() if "api_key" in definition.checks
    }


@pytest.mark.parametrize("name", sorted(load_definitions(None)))
def test_a_provider_that_comes_with_the_vault_is_asked_by_https(name: str) -> None:
    definition = load_definitions(None)[name]
    urls = [check.url for check in definition.checks.values()]
    if definition.oauth2 is not None:
        urls += [definition.oauth2.authorization_url, definition.oauth2.token_url]
        urls += [definition.oauth2.revocation.url] if definition.oauth2.revocation else []
        assert "oauth2" in definition.checks
    assert {urlsplit(url).scheme for url in urls} <= {"https"}


def test_an_operators_file_adds_a_provider(tmp_path: Path) -> None:
    found = load(tmp_path)
    assert found["acme"].title == "Acme"
    assert found.keys() >= STARTERS


def test_an_operators_file_replaces_one_of_the_same_name(tmp_path: Path) -> None:
    found = load(tmp_path, {**GOOD, "name": "github", "title": "GitHub Enterprise"}, "github.yaml")
    assert found["github"].title == "GitHub Enterprise"


def test_names_that_begin_with_a_dot_are_not_files_of_providers(tmp_path: Path) -> None:
    (tmp_path / "..data.yaml").write_text("nonsense: [")
    assert "acme" in load(tmp_path)


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (
            "oauth2.token_url",
            "http://acme.example/token",
            "oauth2.token_url: expected an address that begins with https",
        ),
        ("oauth2.token_url", "https://u:p@acme.example/", "oauth2.token_url: expected an address with a fixed host"),
        ("oauth2.token_url", "https://{api_key}.example/", "oauth2.token_url: expected an address with a fixed host"),
        ("oauth2.token_url", "file:///etc/passwd", "oauth2.token_url: expected an address that begins with https"),
        ("oauth2.token_url", 7, "oauth2.token_url: input should be a valid string"),
        ("oauth2.authentication", "magic", "oauth2.authentication: input should be"),
        ("oauth2.scope_separator", ";", "oauth2.scope_separator: input should be"),
        ("oauth2.default_scopes", ["two words"], "oauth2.default_scopes.0: expected a scope"),
        ("oauth2.issuer_required", True, "issuer_required: there is no issuer to compare with; add it"),
        ("oauth2.authorization_parameters", {"state": "x"}, "state is set by the vault; take it out"),
        ("oauth2.strange", 1, "oauth2.strange: is not known; take it out"),
        ("oauth2", None, "types has it and the section is there"),
        ("types", [], "types: "),
        ("types", ["api_key"], "types has it and the section is there"),
        ("types", ["password"], "types.0: input should be"),
        ("checks.user_password", {"url": "https://acme.example/"}, "types does not have user_password"),
        ("checks.api_key", {"url": "https://acme.example/{secret}"}, "{secret} is not known; use api_key"),
        ("name", "Acme!", "name: expected 1 to 100 of a-z 0-9 _ -"),
        ("name", "other", "name: is other, so call the file other.yaml"),
        ("title", "", "title: "),
    ],
)
def test_an_operator_is_told_file_field_and_what_to_do(
    tmp_path: Path, place: str, value: object, sentence: str
) -> None:
    with pytest.raises(StartRefused) as refused:
        load(tmp_path, changed(place, value))
    assert "acme.yaml: " in str(refused.value)
    assert sentence in str(refused.value)


def test_a_client_without_a_secret_needs_pkce(tmp_path: Path) -> None:
    content = changed("oauth2.authentication", "none")
    content["oauth2"]["pkce"] = False
    with pytest.raises(StartRefused, match="a client without a secret needs it"):
        load(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name: [", "is no valid YAML"),
        ("!!python/object/apply:os.system ['true']", "is no valid YAML"),
        ("", "valid dictionary"),
        ("- a list", "valid dictionary"),
        ("x" * (MAX_FILE_BYTES + 1), "is larger than"),
        ("a: &a [1]\n" + "[" * 5_000, "is no valid YAML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: str, sentence: str) -> None:
    with pytest.raises(StartRefused) as refused:
        load(tmp_path, content)
    assert "acme.yaml: " in str(refused.value)
    assert sentence in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("name: 7")
    with pytest.raises(StartRefused) as refused:
        load(tmp_path, changed("oauth2.token_url", "nowhere"))
    assert {"first.yaml: name", "first.yaml: title", "acme.yaml: oauth2.token_url"} <= {
        ":".join(line.strip().split(":")[:2]) for line in str(refused.value).splitlines()
    }


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="BLOCKYARD_PROVIDER_FILES"):
        load_definitions(tmp_path / "nowhere")


def test_clients_come_from_the_variable_and_from_files_which_win(tmp_path: Path) -> None:
    (tmp_path / "github.json").write_text(json.dumps({"client_id": "of the file", "client_secret": "s"}))
    text = json.dumps({name: {"client_id": "of the variable", "client_secret": "s"} for name in ("github", "google")})
    providers = Providers.load(None, SecretStr(text), tmp_path)
    assert providers.connection("github").client.client_id == "of the file"
    assert providers.connection("google").client.client_id == "of the variable"
    assert not providers.is_connectable("notion")
    with pytest.raises(ProviderNotConfigured, match="BLOCKYARD_OAUTH_CLIENTS"):
        providers.connection("notion")
    with pytest.raises(ProviderNotConfigured):
        providers.connection("openai")


@pytest.mark.parametrize(
    "text",
    [
        "SECRET",
        "[]",
        '{"github": "SECRET"}',
        '{"github": {"client_id": "", "client_secret": "SECRET"}}',
        '{"github": {"client_id": 7, "client_secret": "SECRET"}}',
        '{"github": {"client_id": "x"}}',
        '{"github": {"client_id": "x", "secret": "SECRET"}}',
        '{"nowhere": {"client_id": "x", "client_secret": "SECRET"}}',
        '{"openai": {"client_id": "x", "client_secret": "SECRET"}}',
    ],
)
def test_a_client_that_is_none_is_named_and_its_secret_is_not(tmp_path: Path, text: str) -> None:
    with pytest.raises(StartRefused, match="BLOCKYARD_OAUTH_CLIENTS") as refused:
        Providers.load(None, SecretStr(text), None)
    assert "SECRET" not in str(refused.value)
    (tmp_path / "github.json").write_text(text)
    with pytest.raises(StartRefused, match="BLOCKYARD_OAUTH_CLIENTS_FOLDER") as refused:
        Providers.load(None, SecretStr(""), tmp_path)
    assert "SECRET" not in str(refused.value)


def test_the_file_in_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[4] / "docs" / "credentials.md").read_text()
    (shown,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "token_url" in text]
    assert ProviderDefinition.model_validate(yaml.safe_load(shown)).name == "acme"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("oauth_redirect_uris", "http://app.example.com/callback"),
        ("oauth_state_seconds", 5),
        ("provider_timeout_seconds", 0),
        ("provider_timeout_seconds", 45),
        ("refresh_lease_seconds", 20),
    ],
)
def test_settings_that_would_lose_grants_or_let_codes_out_are_refused(setting: str, value: object) -> None:
    known = {**SETTINGS, "database_url": "postgresql://credentials@localhost/blockyard", "vault_keys_url": "env:"}
    assert CredentialsSettings.model_validate(known)
    with pytest.raises(ValidationError):
        CredentialsSettings.model_validate({**known, setting: value})
