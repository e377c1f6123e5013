"""Ways to write or reach an internal address: one table for all tests that try them.

Each case: what it is, the host as it is written in a URL, and words of the refusal.
"""

import pytest

ADDRESSES: list[tuple[str, str, str]] = [
    ("private 10", "10.0.0.1", "a private address"),
    ("private 172.16", "172.16.0.1", "a private address"),
    ("private 172.31", "172.31.255.255", "a private address"),
    ("private 192.168", "192.168.1.1", "a private address"),
    ("loopback", "127.0.0.1", "a loopback address"),
    ("loopback, another", "127.8.9.10", "a loopback address"),
    ("link-local", "169.254.1.1", "a link-local address"),
    ("carrier's shared", "100.64.0.1", "a shared address"),
    ("carrier's shared, last", "100.127.255.255", "a shared address"),
    ("unspecified", "0.0.0.0", "the unspecified address"),
    ("this network", "0.1.2.3", "an address of this network"),
    ("multicast", "224.0.0.1", "a multicast address"),
    ("multicast, last", "239.255.255.255", "a multicast address"),
    ("reserved 240", "240.0.0.1", "a reserved address"),
    ("broadcast", "255.255.255.255", "a reserved address"),
    ("protocol assignments", "192.0.0.1", "a reserved address"),
    ("documentation 192.0.2", "192.0.2.1", "a reserved address"),
    ("documentation 198.51.100", "198.51.100.1", "a reserved address"),
    ("documentation 203.0.113", "203.0.113.1", "a reserved address"),
    ("benchmarks", "198.19.0.1", "a reserved address"),
    ("6to4 relay", "192.88.99.1", "a reserved address"),
    ("metadata of most clouds", "169.254.169.254", "instance metadata"),
    ("metadata of containers", "169.254.170.2", "instance metadata"),
    ("metadata of Azure", "168.63.129.16", "instance metadata"),
    ("metadata of Alibaba", "100.100.100.200", "instance metadata"),
    ("metadata of Oracle", "192.0.0.192", "instance metadata"),
    ("metadata over IPv6", "fd00:ec2::254", "instance metadata"),
    ("metadata of Google over IPv6", "fd20:ce::254", "instance metadata"),
    ("IPv6 unspecified", "::", "the unspecified address"),
    ("IPv6 loopback", "::1", "a loopback address"),
    ("IPv6 loopback in full", "0:0:0:0:0:0:0:1", "a loopback address"),
    ("IPv6 private", "fd12:3456:789a::1", "a private address"),
    ("IPv6 private fc", "fc00::1", "a private address"),
    ("IPv6 link-local", "fe80::1", "a link-local address"),
    ("IPv6 site-local", "fec0::1", "a site-local address"),
    ("IPv6 multicast", "ff02::1", "a multicast address"),
    ("IPv6 documentation", "2001:db8::1", "a reserved address"),
    ("IPv6 documentation, new", "3fff::1", "a reserved address"),
    ("IPv6 discarded", "100::1", "a reserved address"),
    ("IPv6 not assigned", "4000::1", "a reserved address"),
    ("IPv6 segment routing", "5f00::1", "a reserved address"),
    ("IPv6 protocol assignments", "2001:2::1", "a reserved address"),
    ("mapped loopback", "::ffff:127.0.0.1", "a loopback address inside"),
    ("mapped private", "::ffff:10.0.0.1", "a private address inside"),
    ("mapped private in hex", "::ffff:a00:1", "a private address inside"),
    ("mapped metadata", "::ffff:169.254.169.254", "instance metadata inside"),
    ("mapped CGNAT", "::ffff:100.64.0.1", "a shared address"),
    ("compatible loopback", "::127.0.0.1", "a loopback address inside"),
    ("compatible private", "::10.0.0.1", "a private address inside"),
    ("compatible public", "::8.8.8.8", "an IPv4-compatible address"),
    ("translated private", "::ffff:0:10.0.0.1", "a private address inside"),
    ("translated public", "::ffff:0:8.8.8.8", "an IPv4-translated address"),
    ("NAT64 private", "64:ff9b::10.0.0.1", "a private address inside"),
    ("NAT64 metadata", "64:ff9b::a9fe:a9fe", "instance metadata inside"),
    ("NAT64 loopback", "64:ff9b::7f00:1", "a loopback address inside"),
    ("NAT64 local", "64:ff9b:1::10.0.0.1", "a local NAT64 address"),
    ("NAT64 local, public inside", "64:ff9b:1:ffff::8.8.8.8", "a local NAT64 address"),
    ("6to4 private", "2002:a00:1::1", "a private address inside"),
    ("6to4 metadata", "2002:a9fe:a9fe::", "instance metadata inside"),
    ("6to4 public", "2002:808:808::1", "a 6to4 address"),
    # The client's address is in the last 32 bits, each bit turned over.
    ("Teredo private", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "a private address inside"),
    ("Teredo public", "2001:0:4136:e378:8000:63bf:f7f7:f7f7", "a Teredo address"),
    ("ISATAP private", "2a00:1450::5efe:10.0.0.1", "a private address inside"),
    ("ISATAP private, universal", "2a00:1450::200:5efe:10.0.0.1", "a private address inside"),
]

# Forms that only a URL has: what a resolver of the system would make an address of.
SPELLINGS: list[tuple[str, str, str]] = [
    ("decimal loopback", "2130706433", "a loopback address"),
    ("decimal metadata", "2852039166", "instance metadata"),
    ("hex loopback", "0x7f000001", "a loopback address"),
    ("hex loopback, capital", "0X7F000001", "a loopback address"),
    ("hex parts", "0x7f.0x0.0x0.0x1", "a loopback address"),
    ("octal number", "017700000001", "a loopback address"),
    ("octal parts", "0177.0.0.01", "a loopback address"),
    ("octal with many zeros", "0000000177.0.0.1", "a loopback address"),
    ("octal private", "012.0.0.1", "a private address"),
    ("mixed parts", "0xa9.0376.43518", "instance metadata"),
    ("one part: zero", "0", "the unspecified address"),
    ("hex without digits", "0x", "the unspecified address"),
    ("two parts", "127.1", "a loopback address"),
    ("two parts, large", "10.65536", "a private address"),
    ("three parts", "192.168.257", "a private address"),
    ("dot at the end", "127.0.0.1.", "a loopback address"),
    ("short with a dot at the end", "127.1.", "a loopback address"),
    ("number too large", "4294967296", "is no IPv4 address"),
    ("part too large", "127.0.0.256", "is no IPv4 address"),
    ("first part too large", "256.1", "is no IPv4 address"),
    ("five parts", "127.0.0.0.1", "is no IPv4 address"),
    ("no octal digit", "0189.0.0.1", "cannot be read"),
    ("name and number", "example.1", "cannot be read"),
    ("empty part", "127..1", "cannot be read"),
    ("digits in circles", "①②⑦.⓪.⓪.①", "a loopback address"),
    ("full-width digits", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "a loopback address"),
    ("ideographic dots", "127。0。0。1", "a loopback address"),
    ("encoded host", "%31%32%37.0.0.1", "cannot be read"),
    ("encoded dots", "127%2e0%2e0%2e1", "cannot be read"),
    ("zone", "[fe80::1%25eth0]", "cannot be read"),
    ("zone with loopback", "[::1%25lo]", "cannot be read"),
    ("empty label", "example..com", "no name that DNS allows"),
    ("metadata by name", "metadata.google.internal", "a name of instance metadata"),
    ("metadata by name, capital", "METADATA.google.INTERNAL", "a name of instance metadata"),
    ("metadata by name, dot at the end", "metadata.google.internal.", "a name of instance metadata"),
    ("metadata by short name", "metadata", "a name of instance metadata"),
]

HOSTS = [(case, f"[{host}]" if ":" in host else host, words) for case, host, words in ADDRESSES] + SPELLINGS

PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "169.253.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]


def parameters(cases: list[tuple[str, str, str]]) -> list[object]:
    """The cases for `parametrize`, each with a name that reads."""
    return [
        pytest.param(host, words, id=f"{case}: {host}".encode("ascii", "replace").decode())
        for case, host, words in cases
    ]
