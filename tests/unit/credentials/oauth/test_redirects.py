"""Where a provider may send the browser."""

import pytest

from services.credentials.oauth.redirects import RedirectUris

ALLOWED = RedirectUris.parse("https://app.example.com/callback, http://127.0.0.1/callback http://[::1]/callback")


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/callback",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:1/callback",
        "http://127.0.0.1:65535/callback",
        "http://[::1]:8080/callback",
    ],
)
def test_an_allowed_address_is_allowed(uri: str) -> None:
    assert ALLOWED.allows(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://app.example.com",
        "https://app.example.com/callback/",
        "https://app.example.com/callback?x=1",
        "https://app.example.com/callback#x",
        "https://app.example.com:443/callback",
        "https://APP.example.com/callback",
        "https://app.example.com/callback/../evil",
        "https://app.example.com.evil.com/callback",
        "https://evil@app.example.com/callback",
        "http://app.example.com/callback",
        " https://app.example.com/callback",
        "https://app.example.com/callback\n",
        "javascript:alert(1)",
        "http://127.0.0.1:80@evil.com/callback",
        "http://127.0.0.1:80.evil.com/callback",
        "http://127.0.0.1:/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:08080/callback",
        "http://127.0.0.1:٣/callback",
        "http://127.0.0.1:8080/evil",
        "http://127.0.0.1:8080/callback/x",
        "http://127.0.0.1:8080/x/callback",
        "http://127.0.0.1.evil.com:80/callback",
        "http://127.0.0.2:80/callback",
        "http://localhost:80/callback",
        "https://127.0.0.1:80/callback",
        "http://127.0.0.1/callback" + "x" * 5000,
    ],
)
def test_any_other_spelling_is_refused(uri: str) -> None:
    assert not ALLOWED.allows(uri)


def test_a_port_that_the_operator_names_is_the_only_one() -> None:
    fixed = RedirectUris.parse("http://127.0.0.1:7000/callback")
    assert fixed.allows("http://127.0.0.1:7000/callback")
    assert not fixed.allows("http://127.0.0.1:7001/callback")


def test_nothing_is_allowed_where_nothing_is_set() -> None:
    assert not RedirectUris.parse(" ").allows("")


@pytest.mark.parametrize(
    "text",
    [
        "http://app.example.com/callback",
        "app.example.com",
        "https://*.example.com/callback",
        "https://user@example.com/callback",
        "https://example.com/callback#here",
        "custom://callback",
        "https://",
    ],
)
def test_an_operator_is_told_which_address_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        RedirectUris.parse(text)
