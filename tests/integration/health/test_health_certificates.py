"""Certificates in files and behind listeners, self-signed here."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from siaga.errors import Unreachable
from siaga.health import certificates
from siaga.hosts.local import LocalHost

HOST = LocalHost()
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
_KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(begin: datetime, end: datetime) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "door.example")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(_KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .sign(_KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


@contextlib.asynccontextmanager
async def listener(directory: Path, end: datetime, *, postgres: bool = False) -> AsyncIterator[str]:
    """A TLS listener; one that speaks like a PostgreSQL first when asked for."""
    key = _KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "both.pem").write_bytes(key + certificate(NOW - DAY, end))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            if postgres:
                assert await reader.readexactly(8) == bytes.fromhex("0000000804d2162f")
                writer.write(b"S")
                await writer.start_tls(context)
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=None if postgres else context)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_first_certificate_of_a_file_to_end_decides(tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    path.write_bytes(certificate(NOW - DAY, NOW + 300 * DAY) + certificate(NOW - DAY, NOW + 20 * DAY))
    [found] = await certificates.of_file(HOST, str(path)).read(NOW)
    assert found.value == pytest.approx(20, abs=0.01)
    assert "door.example" in found.why


async def test_a_certificate_that_ended_has_less_than_no_days(tmp_path: Path) -> None:
    path = tmp_path / "old.pem"
    path.write_bytes(certificate(NOW - 10 * DAY, NOW - 3 * DAY))
    [found] = await certificates.of_file(HOST, str(path)).read(NOW)
    assert found.value == pytest.approx(-3, abs=0.01)


async def test_a_certificate_of_tomorrow_has_no_days_today(tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    path.write_bytes(certificate(NOW + DAY, NOW + 300 * DAY))
    [found] = await certificates.of_file(HOST, str(path)).read(NOW)
    assert found.value == 0
    assert "not valid before" in found.why


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nhalf a certif"])
async def test_a_file_without_a_certificate_is_not_measured(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "it.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Unreachable):
        await certificates.of_file(HOST, str(path)).read(NOW)


@pytest.mark.parametrize("postgres", [False, True])
async def test_a_listener_shows_its_certificate_though_nobody_vouches_for_it(tmp_path: Path, postgres: bool) -> None:
    async with listener(tmp_path, NOW + 45 * DAY, postgres=postgres) as address:
        [found] = await certificates.of_endpoint(address, "local", postgres=postgres).read(NOW)
    assert found.value == pytest.approx(45, abs=0.01)


async def test_a_listener_without_tls_is_not_measured() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for postgres in (False, True):
            with pytest.raises(Unreachable, match="no TLS"):
                await certificates.of_endpoint(address, "local", postgres=postgres).read(NOW)
    with pytest.raises(Unreachable, match="no TLS"):
        await certificates.of_endpoint(address, "local").read(NOW)


async def test_a_listener_that_hangs_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "_DEADLINE_S", 0.2)
    over = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable, match="within 0.2 s"):
            await certificates.of_endpoint(address, "local").read(NOW)
        over.set()
