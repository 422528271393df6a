"""The embedded platform's passwords and keys: one file each, readable by its user alone."""

from __future__ import annotations

import secrets
from pathlib import Path

from siaga.hosts.local import write_and_rename
from siaga.platform.layout import Layout, state_servers

NAMES = (
    "postgres-admin",
    "postgres-replicator",
    "postgres-watch",
    "postgres-gate",
    "postgres-replay",
    "postgres-journal",
    "wallet-app",
    "wallet-auditor",
    "pooler-admin",
    "sessions-wallet",
    "sessions-watch",
    "sessions-admin",
    "sessions-replica",
    "controller-token",
    "probe-accounts",
)
CONTROL_ADMIN = "control-db-admin"
CONTROL = "control-db"


def create(layout: Layout) -> None:
    """Make the secrets that do not exist yet; those that do stay."""
    layout.secret("x").parent.mkdir(mode=0o700, exist_ok=True)
    names = [*NAMES, *(f"vendor-{v.name}" for v in layout.site.vendors)]
    if state_servers(layout.site):
        names += [CONTROL_ADMIN, CONTROL]
    for name in names:
        if not layout.secret(name).exists():
            write_and_rename(layout.secret(name), secrets.token_urlsafe(32).encode())
    if not layout.secret("claim-key").exists():
        # The wallet's form: an id for the key, then the key, so that it can be replaced without a pause.
        write_and_rename(layout.secret("claim-key"), f"k1 {secrets.token_hex(32)}\n".encode())


def read(path: Path) -> str:
    """The secret in this file."""
    return path.read_text().strip()
