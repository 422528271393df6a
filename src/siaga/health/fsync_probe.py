"""Runs on the host that is measured, fed to its Python: appends and syncs as a write-ahead log does, prints JSON.

Standard library alone, for any Python 3. Arguments: directory, number of writes, seconds at most.
"""

import json
import os
import sys
import time

WRITE_BYTES = 8192
PAUSE_S = 0.005


def main() -> int:
    """One probe: {"us": [latency of each write and sync]} or {"error": words, "errno": number}."""
    directory, writes, seconds_max = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    # One name: what a killed probe left behind is overwritten by the next one and then removed.
    path = os.path.join(directory, ".siaga-fsync-probe")  # noqa: PTH118 (pathlib would double the start-up time)
    latencies: list[int] = []
    block, begin = b"\0" * WRITE_BYTES, time.monotonic()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            while len(latencies) < writes and time.monotonic() - begin < seconds_max:
                before = time.perf_counter()
                os.write(descriptor, block)
                os.fdatasync(descriptor)
                latencies.append(round((time.perf_counter() - before) * 1e6))
                time.sleep(PAUSE_S)
        finally:
            os.close(descriptor)
            os.unlink(path)  # noqa: PTH108
    except OSError as error:
        print(json.dumps({"error": error.strerror, "errno": error.errno}))
        return 1
    print(json.dumps({"us": latencies}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
