"""The edge over TLS: its certificate may be renewed while it runs."""

import asyncio
import ssl
from pathlib import Path

from blockyard.certificates import Certificates
from blockyard.dev.edge import Edge
from blockyard.dev.ports import free_port
from cryptography import x509

from tests.stack.certificates import Authority
from tests.waiting import until


async def shown(edge: Edge) -> int:
    """The serial number of the certificate that users are shown."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", edge.port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    pair = authority.sign("edge")
    certificates = Certificates(str(authority.file), str(pair.certificate), str(pair.key))
    edge = Edge(tmp_path / "edge", free_port(), tmp_path / "edge.log", {}, {}, certificates)
    renewed = Authority(tmp_path / "renewed").sign("edge")
    wanted = x509.load_pem_x509_certificate(renewed.certificate.read_bytes()).serial_number
    try:
        await edge.start()
        pid = edge.pid
        assert await shown(edge) != wanted
        for fresh, old in ((renewed.key, pair.key), (renewed.certificate, pair.certificate)):
            fresh.replace(old)

        async def is_shown() -> bool:
            return await shown(edge) == wanted

        await until(is_shown, "the renewed certificate is shown")
        assert edge.pid == pid
    finally:
        await edge.kill()
