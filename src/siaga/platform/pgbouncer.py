"""The embedded PgBouncer in front of the transaction database."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from siaga.hosts.keeper import Spec
from siaga.hosts.model import Host
from siaga.ledger import gate_install
from siaga.platform import secrets
from siaga.platform.engines import Engines
from siaga.platform.layout import Layout

ADMIN = "siaga_pooler"
APPLICATION_ROLES = ("wallet_app", "wallet_auditor", gate_install.REPLAY)


def spec(layout: Layout, engines: Engines) -> Spec:
    """How the keeper runs it."""
    return Spec(
        name="pgbouncer",
        kind="pgbouncer",
        argv=(str(engines.pgbouncer), "-q", str(layout.directory("pgbouncer") / "pgbouncer.ini")),
        log=str(layout.log("pgbouncer")),
        env=engines.pgbouncer_env,
        stop_signal=signal.SIGINT,
    )


async def configure(host: Host, layout: Layout, verifiers: Mapping[str, str]) -> None:
    """Write its settings and user list; a running one takes them at the next reload.

    The list holds the server's own verifiers: deriving one from a password costs 4.6 ms of PgBouncer's
    only thread each time a pool opens (measured: 300 ms of 503s after a restart).
    """
    directory = layout.directory("pgbouncer")
    site = layout.site
    primary = site.transactions.servers[0].name
    users = {**verifiers, ADMIN: secrets.read(layout.secret("pooler-admin"))}
    userlist = "".join(f'"{role}" "{password}"\n' for role, password in users.items())
    await host.write(str(directory / "userlist.txt"), userlist.encode())
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(layout.ports["pgbouncer"]),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(directory / "userlist.txt"),
        "admin_users": ADMIN,
        "pool_mode": "transaction",
        "default_pool_size": "24",
        "max_client_conn": "1000",
        # Defaults of 15 s freeze the pool after one failed log-in (lab-switchover section 3).
        "server_login_retry": "0.05",
        "server_connect_timeout": "2",
        "server_fast_close": "1",
        "server_check_delay": "0",
        # Above the longest pause of a switch-over, below nobody's patience: nodes give up earlier.
        "query_wait_timeout": "5",
        "ignore_startup_parameters": "extra_float_digits,options",
        "log_connections": "0",
        "log_disconnections": "0",
        "stats_period": "60",
    }
    name = site.transactions.database
    lines = ["[databases]", f"{name} = host=127.0.0.1 port={layout.ports[primary]} dbname={name}"]
    lines += ["", "[pgbouncer]", *(f"{key} = {value}" for key, value in settings.items()), ""]
    await host.write(str(directory / "pgbouncer.ini"), "\n".join(lines).encode())
