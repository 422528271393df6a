"""The embedded PostgreSQL servers: made, configured for what comes later, and replicated.

Boot settings that hurt to change afterwards are right from the first `initdb` (decision 7).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

from siaga.errors import BadInput, PlatformFault
from siaga.hosts.keeper import Spec
from siaga.hosts.local import write_and_rename
from siaga.hosts.model import Host
from siaga.journal.config import ROLE as JOURNAL
from siaga.ledger.gate_install import GATE, REPLAY
from siaga.platform import secrets
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout
from siaga.site.model import Database

ADMIN = "siaga_admin"
REPLICATOR = "siaga_replicator"
WATCH = "siaga_watch"
INITDB_DEADLINE_S = 120.0

# Checksums and small WAL segments are fixed at initdb: 1 MB segments promote 4 to 16 ms faster
# (lab-switchover section 3). The rest would need a restart later.
SETTINGS: Mapping[str, str] = {
    "wal_level": "logical",
    "summarize_wal": "on",
    "hot_standby": "on",
    "hot_standby_feedback": "on",
    # The journal's slot follows the primary: a replica copies it (and needs a database to ask for it).
    "sync_replication_slots": "on",
    "wal_retrieve_retry_interval": "5ms",
    "wal_receiver_status_interval": "1s",
    "wal_keep_size": "256MB",
    "max_wal_size": "2GB",
    "max_wal_senders": "32",
    "max_replication_slots": "32",
    # A slot never fills the disk (decision 8).
    "max_slot_wal_keep_size": "4GB",
    "max_worker_processes": "32",
    "max_logical_replication_workers": "16",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "synchronous_commit": "on",
    "track_commit_timestamp": "on",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %u@%d ",
    "log_statement": "none",
    # An error must never write a statement with a literal secret into the log.
    "log_min_error_statement": "panic",
    "log_checkpoints": "on",
}


def spec(layout: Layout, engines: Engines, server: str) -> Spec:
    """How the keeper runs one server."""
    return Spec(
        name=server,
        kind="postgres",
        argv=(str(engines.postgres / "postgres"), "-D", str(layout.directory(server))),
        log=str(layout.log(server)),
        stop_signal=signal.SIGINT,
        stop_grace_s=20.0,
    )


def conninfo(layout: Layout, server: str, database: str = "postgres", role: str = ADMIN) -> str:
    """Connection string for the platform's own errands; the password comes from its file."""
    names = {ADMIN: "postgres-admin", WATCH: "postgres-watch", GATE: "postgres-gate"}
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1",
        port=layout.ports[server],
        dbname=database,
        user=role,
        password=secrets.read(layout.secret(names[role])),
        connect_timeout=5,
        # The platform's own errands lose nothing that matters, and must work while no replica streams.
        options="-c synchronous_commit=local",
    )


async def exists(host: Host, layout: Layout, server: str) -> bool:
    """Whether the server was made already."""
    return await _is_made(host, layout.directory(server))


async def _is_made(host: Host, directory: Path) -> bool:
    try:
        await host.read(str(directory / "PG_VERSION"))
    except FileNotFoundError:
        return False
    return True


async def create_primary(host: Host, layout: Layout, engines: Engines, server: str) -> bool:
    """Run initdb unless the server exists already; whether it was made now."""
    return await initialize(
        host,
        engines,
        layout.directory(server),
        admin=ADMIN,
        password_file=layout.secret("postgres-admin"),
        configure=lambda scratch: _configure(host, layout, scratch, server),
    )


async def initialize(
    host: Host,
    engines: Engines,
    directory: Path,
    *,
    admin: str,
    password_file: Path,
    configure: Callable[[Path], Awaitable[None]],
) -> bool:
    """Run initdb and `configure` unless the directory is made already; whether it was made now."""
    if await _is_made(host, directory):
        await _check_version(host, engines, directory)
        return False
    scratch = directory.with_name(f"{directory.name}.new")
    await _discard(host, scratch)
    done = await host.run(
        [
            str(engines.postgres / "initdb"),
            f"--pgdata={scratch}",
            f"--username={admin}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--wal-segsize=1",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ],
        deadline_s=INITDB_DEADLINE_S,
    )
    if done.exit_code != 0:
        raise PlatformFault(
            f"initdb for {directory.name} failed: {_last_line(done.stderr)}",
            hint="Look at free disk space and the message above.",
        )
    await configure(scratch)
    await _finish(host, scratch, directory)
    return True


async def create_replica(host: Host, layout: Layout, engines: Engines, primary: str, server: str) -> bool:
    """Copy the primary unless the replica exists already; whether it was made now."""
    directory = layout.directory(server)
    if await exists(host, layout, server):
        await _check_version(host, engines, directory)
        return False
    scratch = directory.with_name(f"{server}.new")
    await _discard(host, scratch)
    done = await host.run(
        [
            str(engines.postgres / "pg_basebackup"),
            f"--pgdata={scratch}",
            "--host=127.0.0.1",
            f"--port={layout.ports[primary]}",
            f"--username={REPLICATOR}",
            "--no-password",
            "--checkpoint=fast",
            "--wal-method=stream",
        ],
        deadline_s=INITDB_DEADLINE_S,
        env={"PGPASSFILE": str(_passfile(layout))},
    )
    if done.exit_code != 0:
        raise PlatformFault(
            f"copying {primary} to {server} failed: {_last_line(done.stderr)}",
            hint=f"See the log of {primary}, and free disk space.",
        )
    await _configure(host, layout, scratch, server, follows=primary)
    await _finish(host, scratch, directory)
    return True


async def _configure(host: Host, layout: Layout, directory: Path, server: str, follows: str | None = None) -> None:
    settings = {
        **SETTINGS,
        **own_settings(layout, server),
    }
    if follows is not None:
        settings["primary_conninfo"] = (
            f"'host=127.0.0.1 port={layout.ports[follows]} user={REPLICATOR} "
            f"passfile=''{_passfile(layout)}'' application_name={server} connect_timeout=2 dbname=postgres'"
        )
        settings["primary_slot_name"] = f"'{server.replace('-', '_')}'"
        await host.write(str(directory / "standby.signal"), b"")
    await write_settings(host, directory, settings, f"host    replication  {REPLICATOR}  127.0.0.1/32  scram-sha-256\n")


def own_settings(layout: Layout, server: str) -> dict[str, str]:
    """Where one server listens, and its name."""
    return {
        "port": str(layout.ports[server]),
        "listen_addresses": "'127.0.0.1'",
        "unix_socket_directories": f"'{layout.place.run}'",
        "unix_socket_permissions": "0700",
        "cluster_name": f"'{server}'",
    }


async def write_settings(host: Host, directory: Path, settings: Mapping[str, str], more_rules: str = "") -> None:
    """The settings, and passwords demanded from everybody."""
    quoted = {key: value if value.startswith("'") else f"'{value}'" for key, value in settings.items()}
    content = "".join(f"{key} = {value}\n" for key, value in quoted.items())
    await host.write(str(directory / "siaga.conf"), content.encode())
    main = str(directory / "postgresql.conf")
    found = (await host.read(main)).decode()
    include = "include = 'siaga.conf'\n"
    if include not in found:
        await host.write(main, (found + include).encode())
    rules = (
        "# TYPE  DATABASE     USER  ADDRESS       METHOD\n"
        "local   all          all                 scram-sha-256\n"
        "host    all          all   127.0.0.1/32  scram-sha-256\n"
    )
    await host.write(str(directory / "pg_hba.conf"), (rules + more_rules).encode())


async def _finish(host: Host, scratch: Path, directory: Path) -> None:
    """Only a finished directory gets the name: one cut off half way is made anew."""
    await host.run(["mv", "--no-target-directory", str(scratch), str(directory)], deadline_s=10)


def _passfile(layout: Layout) -> Path:
    """A libpq password file, so that no password is in an argument or a setting."""
    path = layout.secret("replicator.pgpass")
    line = f"*:*:*:{REPLICATOR}:{secrets.read(layout.secret('postgres-replicator'))}\n"
    if not path.exists() or path.read_text() != line:
        write_and_rename(path, line.encode())
    return path


async def _check_version(host: Host, engines: Engines, directory: Path) -> None:
    found = (await host.read(str(directory / "PG_VERSION"))).decode().strip()
    printed = await host.run([str(engines.postgres / "postgres"), "--version"], deadline_s=10)
    wanted = printed.stdout.decode().split()[2].split(".")[0]
    if found != wanted:
        raise BadInput(
            f"{directory.name} holds data of PostgreSQL {found}, this engine is PostgreSQL {wanted}",
            hint="Use the siaga version that made it and update through `siaga database update`, "
            "or start afresh with `siaga down --purge`.",
        )


async def _discard(host: Host, scratch: Path) -> None:
    """What an interrupted attempt left behind."""
    await host.run(["rm", "-rf", "--", str(scratch)], deadline_s=60)


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
    return (errors or lines or ["no message"])[-1].strip()


async def accepts(layout: Layout, server: str, deadline_s: float, *, login: str = "") -> None:
    """Wait until the server answers a query; PlatformFault when the deadline passes first.

    `login` is a connection string, by default the platform's own.
    """
    why = "no attempt was made"
    try:
        async with asyncio.timeout(deadline_s):
            while True:
                try:
                    async with await psycopg.AsyncConnection.connect(login or conninfo(layout, server)) as connection:
                        await connection.execute("select 1")
                        return
                except psycopg.OperationalError as error:
                    why = str(error).strip().splitlines()[-1]
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise PlatformFault(
            f"{server} did not accept connections within {deadline_s:g} s ({why})",
            hint=f"See {layout.log(server)}.",
        ) from None


async def create_roles(layout: Layout, server: str) -> None:
    """The platform's own roles, each with the least it needs."""
    async with await psycopg.AsyncConnection.connect(conninfo(layout, server), autocommit=True) as connection:
        for role, secret, attributes in (
            (REPLICATOR, "postgres-replicator", "REPLICATION"),
            (WATCH, "postgres-watch", "IN ROLE pg_monitor"),
            (GATE, "postgres-gate", ""),
            (REPLAY, "postgres-replay", ""),
            (JOURNAL, "postgres-journal", "REPLICATION"),
        ):
            found = await connection.execute("select 1 from pg_roles where rolname = %s", (role,))
            if await found.fetchone():
                continue
            # The verifier is made here, so that not even the server sees the password.
            verifier = connection.pgconn.encrypt_password(
                secrets.read(layout.secret(secret)).encode(), role.encode(), b"scram-sha-256"
            ).decode()
            create = sql.SQL("create role {} login password {} " + attributes)
            await connection.execute(create.format(sql.Identifier(role), sql.Literal(verifier)))


async def create_database(layout: Layout, server: str, name: str) -> None:
    """The database; who may connect is `open_to`'s to say."""
    async with await psycopg.AsyncConnection.connect(conninfo(layout, server), autocommit=True) as connection:
        found = await connection.execute("select 1 from pg_database where datname = %s", (name,))
        if not await found.fetchone():
            await connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))


async def open_to(layout: Layout, server: str, name: str, roles: Iterable[str]) -> None:
    """Let these roles connect to the database, and nobody else but its owner."""
    async with await psycopg.AsyncConnection.connect(conninfo(layout, server), autocommit=True) as connection:
        database = sql.Identifier(name)
        await connection.execute(sql.SQL("revoke connect on database {} from public").format(database))
        allowed = sql.SQL(", ").join(sql.Identifier(role) for role in roles)
        await connection.execute(sql.SQL("grant connect on database {} to {}").format(database, allowed))


async def verifiers(layout: Layout, server: str, roles: Iterable[str]) -> dict[str, str]:
    """The SCRAM verifier of each role: with it the pooler logs in to the server without knowing a password."""
    async with await psycopg.AsyncConnection.connect(conninfo(layout, server)) as connection:
        found = await connection.execute(
            "select rolname, rolpassword from pg_authid where rolname = any(%s)", (list(roles),)
        )
        return {str(role): str(verifier) for role, verifier in await found.fetchall()}


async def create_slot(layout: Layout, primary: str, replica: str) -> None:
    """The replica's slot on the primary, made before the copy so that no WAL is missing."""
    name = replica.replace("-", "_")
    async with await psycopg.AsyncConnection.connect(conninfo(layout, primary), autocommit=True) as connection:
        await connection.execute(
            "select pg_create_physical_replication_slot(%s, true) "
            "where not exists (select from pg_replication_slots where slot_name = %s)",
            (name, name),
        )


async def require_quorum(layout: Layout, database: Database, deadline_s: float) -> None:
    """Make every commit wait for a replica (decision 7; the archives join with the recovery issue).

    Only once a replica streams: before that every commit would hang.
    """
    primary, replicas = database.servers[0].name, [s.name for s in database.servers[1:]]
    if not replicas:
        return
    async with await psycopg.AsyncConnection.connect(conninfo(layout, primary), autocommit=True) as connection:
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    cursor = await connection.execute(
                        "select count(*) from pg_stat_replication "
                        "where state = 'streaming' and application_name = any(%s)",
                        (replicas,),
                    )
                    row = await cursor.fetchone()
                    if row is not None and row[0] >= 1:
                        break
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise PlatformFault(
                f"no replica of {primary} streams after {deadline_s:g} s", hint=f"See {layout.log(replicas[0])}."
            ) from None
        names = ", ".join(f'"{name}"' for name in replicas)
        await connection.execute(
            sql.SQL("alter system set synchronous_standby_names = {}").format(sql.Literal(f"ANY 1 ({names})"))
        )
        await connection.execute("select pg_reload_conf()")


def server_dsn(database: Database, pooler: str) -> str:
    """The address applications use, through the pooler and without a password."""
    host, _, port = pooler.rpartition(":")
    return f"postgresql://{host}:{port}/{database.database}"
