"""The readers of a host, on this one."""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from siaga.errors import Unreachable
from siaga.health import descriptors, disks, distribution, filesystems, fsync, packages
from siaga.health.end_of_life import table
from siaga.health.model import Kind
from siaga.hosts.local import LocalHost

HOST = LocalHost()
PYTHON = (sys.executable,)


def now() -> datetime:
    return datetime.now(UTC)


async def test_the_volume_of_a_directory_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = await disks.reader(HOST, [str(tmp_path), str(tmp_path / "a")]).read(now())
    assert [o.kind for o in found] == [Kind.DISK_SPACE, Kind.DISK_INODES]
    assert all(o.value is not None and 0 <= o.value <= 100 for o in found)


async def test_a_directory_that_is_gone_is_not_measured(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for reader in (disks.reader(HOST, [missing]), filesystems.reader(HOST, [missing])):
        with pytest.raises(Unreachable):
            await reader.read(now())
    latency, _ = await fsync.reader(HOST, missing, PYTHON).read(now())
    assert latency.value is None
    assert "No such file" in latency.why


async def test_the_probe_measures_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / ".siaga-fsync-probe").write_bytes(b"left by a probe that was killed" * 1000)
    latency, errors = await fsync.reader(HOST, str(tmp_path), PYTHON).read(now())
    assert latency.value is not None
    assert latency.value > 0
    assert errors.value == 0
    assert list(tmp_path.iterdir()) == []


async def test_a_host_without_python_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="the probe of .* failed"):
        await fsync.reader(HOST, str(tmp_path), ("sh", "-c", "echo no such program >&2; exit 127")).read(now())


async def test_a_filesystem_tells_its_errors_or_that_it_does_not_count_them(tmp_path: Path) -> None:
    [found] = await filesystems.reader(HOST, [str(tmp_path)]).read(now())
    assert found.value == 0 or (found.value is None and found.why)


async def test_open_files_of_a_process_are_counted() -> None:
    opened = [os.open("/dev/null", os.O_RDONLY) for _ in range(50)]
    found = {
        o.subject: o for o in await descriptors.reader(HOST, lambda: {"me": os.getpid(), "no": 2**22 - 1}).read(now())
    }
    for file in opened:
        os.close(file)
    assert found["me"].value is not None
    assert int(found["me"].why.split()[0]) >= 50
    assert found["no"].value is None


async def test_this_host_s_python_and_system_are_looked_up() -> None:
    product, version = await packages.python(HOST, PYTHON)()
    assert (product, version) == ("python", ".".join(str(part) for part in sys.version_info[:3]))
    program = packages.Program("operating system", "local", packages.operating_system(HOST))
    [found] = await packages.support(program, table()).read(now())
    assert found.value is not None or "is not known" in found.why


async def test_the_age_of_a_program_is_that_of_its_file(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch()
    os.utime(program, (now().timestamp() - 200 * 86_400,) * 2)
    found = await packages.ages(HOST, {"it": str(program), "gone": str(tmp_path / "gone")}).read(now())
    assert [o.value for o in found] == [pytest.approx(200, abs=0.1), None]


async def test_a_file_that_no_package_brought_is_mended_by_no_distribution(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch()
    with pytest.raises(Unreachable, match="belongs to no package|no dpkg"):
        await distribution.of_file(HOST, str(program))
