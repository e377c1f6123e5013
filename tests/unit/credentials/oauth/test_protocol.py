"""What is sent to a token endpoint, and what is taken from its answers."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from services.credentials.oauth.checking import account_name
from services.credentials.oauth.outgoing import Outgoing, ProviderMisbehaved, Reply
from services.credentials.oauth.protocol import (
    LONGEST_LIFE_SECONDS,
    MAX_TOKEN_CHARACTERS,
    TokenRefused,
    authorization_url,
    exchange_request,
    refresh_request,
    revocation_request,
    tokens_of,
)
from services.credentials.providers import Connection
from services.credentials.providers.clients import OAuthClient
from services.credentials.providers.definitions import ProviderDefinition

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
"""Both of RFC 7636, appendix B."""


def connection(client_id: str = "the client", secret: str = "a+b%c", **changes: object) -> Connection:
    oauth2 = {"authorization_url": "https://p.example/auth?fixed=1", "token_url": "https://p.example/token", **changes}
    provider = ProviderDefinition.model_validate({"name": "p", "title": "P", "types": ["oauth2"], "oauth2": oauth2})
    assert provider.oauth2 is not None
    return Connection(provider, provider.oauth2, OAuthClient(client_id, SecretStr(secret)))


def reply(answer: Any, status: int = 200) -> Reply:
    """Any: JSON, or bytes that are none."""
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return Reply(status, "application/json", body)


def test_the_authorization_url_says_who_asks_for_what() -> None:
    made = connection(authorization_parameters={"prompt": "consent"}, scope_separator=",")
    url = authorization_url(made, "https://app.example/cb", ["read", "write"], "the state", VERIFIER)
    assert url.startswith("https://p.example/auth?")
    assert parse_qs(urlsplit(url).query) == {
        "fixed": ["1"],
        "response_type": ["code"],
        "client_id": ["the client"],
        "redirect_uri": ["https://app.example/cb"],
        "scope": ["read,write"],
        "state": ["the state"],
        "code_challenge": [CHALLENGE],
        "code_challenge_method": ["S256"],
        "prompt": ["consent"],
    }


def test_a_provider_without_pkce_gets_no_challenge_and_no_empty_scope() -> None:
    query = parse_qs(urlsplit(authorization_url(connection(pkce=False), "https://a/cb", [], "s", VERIFIER)).query)
    assert query.keys() == {"fixed", "response_type", "client_id", "redirect_uri", "state"}


def test_the_client_is_named_as_the_provider_wants_it() -> None:
    basic, post, none = (
        exchange_request(connection(authentication=authentication), "the code", "https://a/cb", VERIFIER)
        for authentication in ("basic", "post", "none")
    )
    # "the+client:a%2Bb%25c", form-encoded as RFC 6749 has it
    assert basic.headers["Authorization"] == "Basic dGhlK2NsaWVudDphJTJCYiUyNWM="
    assert all("Authorization" not in one.headers for one in (post, none))
    code = {
        "grant_type": ["authorization_code"],
        "code": ["the code"],
        "redirect_uri": ["https://a/cb"],
        "code_verifier": [VERIFIER],
    }
    assert parse_qs(basic.body or "") == code
    assert parse_qs(post.body or "") == {**code, "client_id": ["the client"], "client_secret": ["a+b%c"]}
    assert parse_qs(none.body or "") == {**code, "client_id": ["the client"]}


def test_a_provider_that_wants_json_gets_json() -> None:
    sent = refresh_request(connection(token_body="json"), "the refresh token")
    assert sent.headers["Content-Type"] == "application/json"
    assert json.loads(sent.body or "") == {"grant_type": "refresh_token", "refresh_token": "the refresh token"}


@pytest.mark.parametrize(
    ("revocation", "method", "url", "body"),
    [
        ({"authentication": "none"}, "POST", "https://p.example/r", "token=t&token_type_hint=access_token&client_id=c"),
        ({"authentication": "token"}, "POST", "https://p.example/r", ""),
        (
            {"url": "https://p.example/{client_id}/r", "method": "DELETE", "body": "json", "token_parameter": "access"},
            "DELETE",
            "https://p.example/c/r",
            '{"access": "t"}',
        ),
    ],
)
def test_a_token_is_given_back_as_the_provider_wants_it(
    revocation: dict[str, str], method: str, url: str, body: str
) -> None:
    made = connection("c", revocation={"url": "https://p.example/r", **revocation})
    sent = revocation_request(made, "t", "access_token")
    assert (sent.method, sent.url, sent.body) == (method, url, body)
    if revocation.get("authentication") == "token":
        assert sent.headers["Authorization"] == "Bearer t"


def test_no_request_and_no_answer_shows_its_secret() -> None:
    outgoing = Outgoing("POST", "https://p/?key=secret", {"Authorization": "secret"}, "secret", "the token endpoint")
    assert "secret" not in repr(outgoing)
    assert "secret" not in repr(Reply(200, "application/json", b"secret"))


def test_tokens_do_not_show_themselves() -> None:
    tokens = tokens_of(connection(), reply({"access_token": "secret-1", "refresh_token": "secret-2", "scope": "a b"}))
    assert tokens.parts()["refresh_token"] == "secret-2"
    assert "secret" not in repr(tokens)


@pytest.mark.parametrize(
    ("said", "scopes"),
    [
        ("read write", ("read", "write")),
        ("read,write", ("read", "write")),
        (" read  read ", ("read",)),
        (["read", "write"], ("read", "write")),
        (["read", 7, "", "two words"], ("read",)),
        ("", None),
        (None, None),
        (7, None),
        (["x"] * 101, None),
    ],
)
def test_scopes_are_read_in_every_form_that_providers_write(said: Any, scopes: tuple[str, ...] | None) -> None:
    assert tokens_of(connection(), reply({"access_token": "t", "scope": said})).scopes == scopes


@pytest.mark.parametrize("code", ["invalid_grant", "bad_refresh_token"])
def test_a_grant_is_void_by_the_codes_of_its_provider(code: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        tokens_of(connection(invalid_grant=["bad_refresh_token"]), reply({"error": code}, 400))
    assert refused.value.grant_is_void


MADE = connection()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=10), children, max_size=3),
    max_leaves=10,
)
fields = st.sampled_from(
    ["access_token", "refresh_token", "token_type", "expires_in", "scope", "error", "error_description"]
)


@given(answer=st.dictionaries(fields, json_values) | json_values, status=st.sampled_from([200, 400, 401]))
def test_whatever_comes_is_tokens_or_an_error_of_ours(answer: Any, status: int) -> None:
    try:
        tokens = tokens_of(MADE, reply(answer, status))
    except (TokenRefused, ProviderMisbehaved) as error:
        refusal = str(error)
    else:
        refusal = ""
    assert refusal.isprintable()
    if refusal:
        return
    assert status == 200
    assert 0 < len(tokens.access_token) <= MAX_TOKEN_CHARACTERS
    assert tokens.access_token.isascii()
    assert tokens.access_token.isprintable()
    assert tokens.expires_in is None or 0 <= tokens.expires_in <= LONGEST_LIFE_SECONDS


@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_answer_are_an_error_of_ours(body: bytes) -> None:
    with pytest.raises((TokenRefused, ProviderMisbehaved)):
        tokens_of(MADE, reply(body))


@pytest.mark.parametrize(
    ("answer", "path", "name"),
    [
        ({"login": "anna"}, "login", "anna"),
        ({"data": {"viewer": {"email": "a@b"}}}, "data.viewer.email", "a@b"),
        ({"id": 7}, "id", "7"),
        ({"login": "<script>anna</script>\n\x00\u202e"}, "login", "scriptanna/script"),
        ({"login": "x" * 500}, "login", "x" * 100),
        ({"login": None}, "login", ""),
        ({"login": True}, "login", ""),
        ({"login": {"x": 1}}, "login", ""),
        ({"data": []}, "data.x", ""),
        ({}, "login", ""),
        ({"login": "anna"}, "", ""),
    ],
)
def test_the_name_of_an_account_is_text_that_one_may_show(answer: dict[str, Any], path: str, name: str) -> None:
    assert account_name(answer, path) == name
