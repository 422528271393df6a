"""An application node of the embedded platform: the example wallet, open to drills.

Run as `python -m siaga.platform.node CONFIG.json FAULT_SOCKET`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from wallet.app import create_app
from wallet.serve import serve
from wallet.settings import load_settings

from siaga.platform.faults import Faulty


def main(config: str, fault_socket: str) -> None:
    """Serve one node until a signal ends us."""
    settings = load_settings(Path(config))
    serve(settings, Faulty(create_app(settings), Path(fault_socket)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
