"""What the last long campaign in simulation proved, shipped with the program: a drill of no platform (decision 22).

`python -m benchmarks.simulation` writes the file beside this one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("proven.json")


def proven() -> Mapping[str, Mapping[str, Any]]:
    """By clause: when, how many simulated hours and worlds, and whether every invariant held."""
    try:
        found: Mapping[str, Mapping[str, Any]] = json.loads(PATH.read_bytes())
    except FileNotFoundError:
        return {}
    return found
