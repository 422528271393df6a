"""A whole platform as a user has it: everything through the `siaga` command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMMAND_DEADLINE_S = 180.0


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Platform:
    """One platform in a directory of its own."""

    home: Path

    def siaga(self, *arguments: str, deadline_s: float = COMMAND_DEADLINE_S) -> Answer:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, timeout=deadline_s
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job, as these tests may be, ignores Ctrl-C, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "siaga.cli.main", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "SIAGA_HOME": str(self.home)}

    def status(self) -> Any:
        return self.siaga("status", "--json").document

    def part(self, name: str) -> Any:
        return next(part for part in self.status()["parts"] if part["name"] == name)

    def pids(self) -> dict[str, int | None]:
        return {part["name"]: part["pid"] for part in self.status()["parts"]}

    def processes(self) -> list[str]:
        """Command lines of every process that works below this platform's directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.home) in line:
                    found.append(line)
        return found


def eventually(condition: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    """Wait for something outside to become true."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)
