"""Until when certificates are valid: those in files, and those that listeners show."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from cryptography import x509

from siaga.errors import Unreachable
from siaga.health.model import Kind, Observation, Reader
from siaga.hosts.model import Host

_DEADLINE_S = 10.0
_DAY_S = 86_400.0
# PostgreSQL's SSLRequest: length 8, code 80877103. Its answer is one byte, S or N.
_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


def of_file(host: Host, path: str) -> Reader:
    """Read the certificates of one PEM file; the first to end decides."""

    async def read(now: datetime) -> Sequence[Observation]:
        try:
            certificates = x509.load_pem_x509_certificates(await host.read(path))
        except FileNotFoundError:
            raise Unreachable(f"{path}: no such file", hint="Correct `health.certificate_files`.") from None
        except ValueError:
            raise Unreachable(f"{path} holds no certificate in PEM", hint="Correct the file.") from None
        return [observation(certificates, host.name, path, now)]

    return Reader(f"certificates of {host.name}:{path}", host.name, (Kind.CERTIFICATE,), read, path)


def of_endpoint(address: str, host: str, *, postgres: bool = False) -> Reader:
    """Read the certificate that a listener shows; in a PostgreSQL's own way when it is one."""

    async def read(now: datetime) -> Sequence[Observation]:
        try:
            async with asyncio.timeout(_DEADLINE_S):
                shown = await _shown(address, postgres)
        except TimeoutError:
            raise Unreachable(f"no TLS within {_DEADLINE_S:g} s", hint="Look at the listener.") from None
        except (OSError, EOFError) as error:
            # An ssl.SSLError is an OSError too; its words are the library's own and hold no secret.
            raise Unreachable(f"no TLS: {error}", hint="Look at the listener.") from None
        return [observation([shown], host, address, now)]

    return Reader(f"certificate of {address}", host, (Kind.CERTIFICATE,), read, address)


def observation(certificates: Iterable[x509.Certificate], host: str, subject: str, now: datetime) -> Observation:
    """Days until the first of them ends; none for one that does not hold yet."""
    first = min(certificates, key=lambda each: each.not_valid_after_utc)
    name = first.subject.rfc4514_string()
    if first.not_valid_before_utc > now:
        why = f"{name} is not valid before {first.not_valid_before_utc.isoformat()}"
        return Observation(Kind.CERTIFICATE, host, subject, 0.0, why)
    days = (first.not_valid_after_utc - now).total_seconds() / _DAY_S
    return Observation(
        Kind.CERTIFICATE, host, subject, round(days, 3), f"{name} ends {first.not_valid_after_utc.isoformat()}"
    )


async def _shown(address: str, postgres: bool) -> x509.Certificate:
    name, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who signed it is not asked here: a certificate of the site's own authority ends too.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(name, int(port))
    try:
        if postgres:
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                raise ssl.SSLError("the server offers none")
        await writer.start_tls(context, server_hostname=name)
        secured: Any = writer.get_extra_info("ssl_object")
        return x509.load_der_x509_certificate(secured.getpeercert(binary_form=True))
    finally:
        # Not closed in good order: a listener that hangs in its handshake would make us wait for that too.
        writer.transport.abort()
