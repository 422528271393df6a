"""`python -m wallet CONFIG.json`: one node."""

from __future__ import annotations

import sys

from wallet.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
