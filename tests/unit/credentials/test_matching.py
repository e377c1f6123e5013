"""Which hosts the headers of a credential go to, however the URL is spelled."""

import pytest
from blockyard.egress import EgressError
from blockyard.egress.targets import parse_target

from services.credentials.matching import read_host


def takes(pattern: str, url: str) -> bool:
    try:
        return read_host(pattern).holds(parse_target(url))
    except EgressError:
        return False


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("example.com", "https://example.com"),
        ("example.com", "http://example.com/path?query#part"),
        ("example.com", "HTTPS://EXAMPLE.com./"),
        ("Example.COM", "https://example.com:443"),
        ("example.com.", "https://example.com"),
        ("example.com:8443", "https://example.com:8443/"),
        ("example.com:443", "https://example.com"),
        ("example.com:80", "http://example.com"),
        ("*.example.com", "https://api.example.com"),
        ("*.example.com", "https://a.b.c.example.com"),
        ("*.Example.com", "https://API.EXAMPLE.COM."),
        ("*.example.com:8443", "https://api.example.com:8443"),
        ("bücher.example", "https://xn--bcher-kva.example/"),
        ("xn--bcher-kva.example", "https://BÜCHER.example/"),
        ("*.bücher.example", "https://api.bücher.example/"),
        ("10.0.0.1", "http://10.0.0.1/"),
        ("127.0.0.1", "http://2130706433/"),
        ("[::1]", "https://[0:0:0:0:0:0:0:1]/"),
        ("[2001:DB8::1]:8443", "https://[2001:db8:0::1]:8443/"),
    ],
)
def test_the_same_place_is_known_in_every_spelling(pattern: str, url: str) -> None:
    assert takes(pattern, url)


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("*.example.com", "https://example.com"),
        ("*.example.com", "https://notexample.com"),
        ("*.example.com", "https://.example.com"),
        ("*.example.com", "https://example.com.evil.net"),
        ("*.example.com", "https://api.example.com:8443"),
        ("example.com", "https://api.example.com"),
        ("example.com", "https://example.com.evil.net"),
        ("example.com", "https://example.com:8443"),
        ("example.com", "http://example.com:443"),
        ("example.com", "https://example.com:80"),
        ("example.com:443", "http://example.com"),
        ("example.com", "https://example.com@evil.net/"),
        ("example.com", "https://evil.net@example.com/"),
        ("example.com", "https://user:pass@example.com/"),
        ("example.com", "https://evil.net\\@example.com/"),
        ("example.com", "https://example.com%2eevil.net/"),
        ("example.com", "https://example%2ecom/"),
        ("example.com", "https://evil.net#@example.com/"),
        ("example.com", "https://evil.net/?x=https://example.com"),
        ("example.com", "ftp://example.com/"),
        ("example.com", "//example.com/"),
        ("example.com", "example.com"),
        ("example.com", ""),
        ("example.com", " https://example.com"),
        ("example.com", "https://\u0435xample.com"),
        ("1.example.com", "https://[::1]/"),
        ("[::1]", "https://127.0.0.1/"),
        ("[::1]", "https://[::ffff:127.0.0.1]/"),
        ("10.0.0.1", "https://10.0.0.11/"),
    ],
)
def test_another_place_that_looks_alike_gets_nothing(pattern: str, url: str) -> None:
    assert not takes(pattern, url)


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "*", "*.", "*example.com", "a.*.com", "**.example.com", "https://example.com", "example.com/", "a b.com"),
        *("example.com:", "example.com:0", "example.com:65536", "example.com:8443:1", "user@example.com", "a..b"),
        *(
            "*.10.0.0.1",
            "*.[::1]",
            "::1",
            "[::1",
            "[fe80::1%eth0]",
            "example.com\n",
            "-a.com",
            "exa\\mple.com",
            "a" * 300,
        ),
    ],
)
def test_what_is_no_host_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"expected a host|nothing below an address"):
        read_host(pattern)
