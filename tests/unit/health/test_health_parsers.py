"""What other programs print, as the readers understand it: real output, and output that is wrong."""

from __future__ import annotations

import errno
import struct
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siaga.errors import Unreachable
from siaga.health import (
    checksums,
    clock,
    clock_spread,
    disks,
    distribution,
    filesystems,
    fsync,
    kernel_log,
    packages,
    postgres_slots,
    valkey,
)
from siaga.health.end_of_life import ending, table
from siaga.health.model import Kind
from siaga.health.postgres import Server
from siaga.site.health import EndOfLife

PGBOUNCER = ("pgbouncer", "1.18.0")
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
SERVER = Server("transactions-1", "local", lambda: "")


def test_df_is_read_by_volume_each_once() -> None:
    text = (
        "     1B-blocks         Used        Avail    Inodes     IUsed Mounted on\n"
        "  100000000000  60000000000  20000000000   1000000    250000 /var/lib/my data\n"
        "  100000000000  60000000000  20000000000   1000000    250000 /var/lib/my data\n"
        "    1000000000            0   1000000000         -         - /btrfs\n"
    )
    found = {(o.kind, o.subject): o.value for o in disks.parse(text, "local")}
    assert found == {
        (Kind.DISK_SPACE, "/var/lib/my data"): 75.0,
        (Kind.DISK_INODES, "/var/lib/my data"): 25.0,
        (Kind.DISK_SPACE, "/btrfs"): 0.0,
        (Kind.DISK_INODES, "/btrfs"): 0.0,
    }


def test_the_slow_tail_of_the_writes_is_what_counts() -> None:
    latency, errors = fsync.observations({"us": [1000] * 197 + [90_000] * 3}, "local", "/data")
    assert latency.value == 90.0
    assert "median 1 ms" in latency.why
    assert errors.value == 0


def test_a_disk_that_fails_to_write_is_an_error_and_a_full_one_is_not() -> None:
    _, broken = fsync.observations({"error": "Input/output error", "errno": errno.EIO}, "local", "/data")
    latency, full = fsync.observations({"error": "No space left on device", "errno": errno.ENOSPC}, "local", "/data")
    assert broken.value == 1
    assert full.value is None
    assert latency.value is None


def test_findmnt_tells_the_mount() -> None:
    mount = filesystems.parse(
        b'{"filesystems": [{"target":"/var", "fstype":"ext4", "maj:min":"254:1 ", "uuid":null, '
        b'"options":"ro,relatime"}]}'
    )
    assert mount == filesystems.Mount("/var", "ext4", "254:1", "", read_only=True)


KERNEL = """\
2026-11-01T00:00:00,000000+00:00 EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: old
2026-11-22T10:00:00,000000+00:00 eth0: link becomes ready
2026-11-22T10:00:01,000000+00:00 blk_update_request: I/O error, dev sdb, sector 1234
2026-11-22T10:00:02,000000+00:00 nvme0n1: I/O 12 QID 4 timeout, aborting
2026-11-22T10:00:02,100000+00:00 nvme nvme0: I/O 12 QID 4 timeout, aborting
2026-11-22T10:00:03,000000+00:00 XFS (dm-3): Metadata corruption detected at xfs_agf_read_verify
2026-11-22T10:00:04,000000+00:00 BTRFS warning (device sdc): csum failed root 5 ino 257
2026-11-22T10:00:05,000000+00:00 mce: [Hardware Error]: Machine check events logged
a line without a time: I/O error
"""


def test_the_kernel_s_words_about_failing_hardware_count_for_a_week() -> None:
    found = kernel_log.troubles(KERNEL, NOW - timedelta(days=7))
    assert not any("old" in line for line in found)
    assert not any("link becomes ready" in line for line in found)
    assert len(found) == 6 + 1


def slot(**changes: object) -> dict[str, object]:
    row = {"slot_name": "journal", "active": True, "wal_status": "reserved", "kept_bytes": 1 << 30, "keep_mb_max": 4096}
    row["keeps_nothing"] = False
    return {**row, **changes}


@pytest.mark.parametrize(
    ("changes", "value", "word"),
    [
        ({}, 25.0, "reserved"),
        ({"active": False}, 25.0, "nobody reads it"),
        ({"wal_status": "lost", "kept_bytes": None}, 100.0, "lost"),
        ({"kept_bytes": None, "keeps_nothing": True}, 0.0, "nothing yet"),
        ({"kept_bytes": None}, None, "how far it is"),
        ({"keep_mb_max": -1}, None, "unlimited"),
        ({"kept_bytes": -16}, 0.0, "reserved"),
    ],
)
def test_a_slot_is_read_by_what_it_keeps(changes: dict[str, object], value: float | None, word: str) -> None:
    found = postgres_slots.observation(slot(**changes), SERVER)
    assert found.value == value
    assert word in found.why


BROKEN = (
    'pg_basebackup: WARNING:  checksum verification failed in file "base/5/1259", block 3: '
    "calculated 1A2B but expected 3C4D\n"
    "pg_basebackup: error: backup failed: ERROR:  checksum verification failure during base backup\n"
)


def test_a_walk_that_met_a_broken_page_says_so_and_one_that_failed_is_not_measured() -> None:
    assert checksums.verdict(0, "", SERVER).value == 0
    broken = checksums.verdict(1, BROKEN, SERVER)
    assert broken.value == 1
    assert "base/5/1259" in broken.why
    with pytest.raises(Unreachable, match="ended early"):
        checksums.verdict(1, "pg_basebackup: error: connection refused\n", SERVER)


def test_a_walk_never_has_a_password_among_its_arguments() -> None:
    walk = checksums.Walk("pg_basebackup", "db.example:5432", "rep", "/secret/file", 32, 60.0)
    assert "--max-rate=32M" in walk.argv
    assert "--checkpoint=spread" in walk.argv
    assert not any("/secret/file" in argument for argument in walk.argv)


def test_sessions_without_a_memory_limit_are_not_measured() -> None:
    server = valkey.SessionServer("sessions-1", "local", lambda: pytest.fail("nobody is asked"))
    said = {"connected_clients": 50, "maxclients": 1000, "used_memory": 96_000_000, "maxmemory": 128_000_000}
    clients, memory = valkey.observations(said, server)
    assert (clients.value, memory.value) == (5.0, 75.0)
    assert valkey.observations({**said, "maxmemory": 0}, server)[1].value is None


# Clocks -----------------------------------------------------------------------------------------------------

CHRONY = "A29FC801,time.example,3,1763888400.1,-0.000123,0.00002,0.0001,-12.3,0.01,0.2,0.004,0.001,64.1,"


def test_chrony_s_account_is_read() -> None:
    assert clock.tracking(CHRONY + "Normal\n") == pytest.approx(-0.000123)
    with pytest.raises(Unreachable, match="no time server"):
        clock.tracking(CHRONY + "Not synchronised\n")
    with pytest.raises(Unreachable, match="cut off"):
        clock.tracking("7F7F0101,")


def answer(cookie: int, arrived_s: float, left_s: float, *, leap: int = 0, mode: int = 4, stratum: int = 2) -> bytes:
    def stamp(seconds: float) -> tuple[int, int]:
        whole = int(seconds // 1)
        return (whole + 2_208_988_800) % 2**32, int((seconds - whole) * 2**32)

    words = (0, 0, 0, *stamp(arrived_s), cookie >> 32, cookie & 0xFFFFFFFF, *stamp(arrived_s), *stamp(left_s))
    return struct.pack("!BBbb11I", leap << 6 | 4 << 3 | mode, stratum, 6, -20, *words)


@pytest.mark.parametrize("sent_s", [1_795_420_800.0, 2_085_978_490.0, 2_400_000_000.0])
def test_an_answer_gives_the_offset_also_across_the_end_of_the_era_in_2036(sent_s: float) -> None:
    # Our clock is 0.25 s behind, the way there takes 40 ms and back 40 ms, the server thinks for 10 ms.
    data = answer(77, sent_s + 0.25 + 0.04, sent_s + 0.25 + 0.05)
    round_trip_s, offset_s = clock.sntp(data, 77, sent_s, sent_s + 0.09)
    assert round_trip_s == pytest.approx(0.08, abs=1e-5)
    assert offset_s == pytest.approx(0.25, abs=1e-5)


@pytest.mark.parametrize("wrong", [{"leap": 3}, {"mode": 3}, {"stratum": 0}, {"stratum": 16}])
def test_a_server_that_is_not_synchronised_is_not_believed(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="no synchronised server"):
        clock.sntp(answer(77, 1e9, 1e9, **wrong), 77, 1e9, 1e9)


def test_an_answer_to_somebody_else_s_question_is_not_believed() -> None:
    with pytest.raises(ValueError, match="our question"):
        clock.sntp(answer(78, 1e9, 1e9), 77, 1e9, 1e9)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_refused(data: bytes) -> None:
    try:
        clock.sntp(data, 1 << 40 | 77, 1e9, 1e9 + 1)
    except ValueError:
        return
    assert len(data) >= 48


# Versions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product", "version", "cycle"),
    [
        ("postgresql", "18.1", "18"),
        ("postgresql", "180.1", None),
        ("valkey", "7.2.11", "7.2"),
        ("valkey", "9.9.1", None),
        ("envoy", "1.40.1", "1.40"),
        ("debian", "12", "12"),
        ("ubuntu", "24.04", "24.04"),
        ("python", "3.11.7", "3.11"),
        ("pgbouncer", "1.25.0", None),
    ],
)
def test_a_version_is_found_by_its_cycle(product: str, version: str, cycle: str | None) -> None:
    found = ending(table(), product, version)
    assert (found.cycle if found else None) == cycle


def test_an_unknown_end_of_life_is_not_measured_and_named() -> None:
    program = packages.Program("pooler", "local", lambda: pytest.fail("nobody is asked"))
    found = packages.supported("pgbouncer", "1.25.0", program, table(), NOW)
    assert found.value is None
    assert found.why == "end of life of pgbouncer 1.25.0 is not known to this version of siaga"


def test_the_site_s_own_table_goes_before_the_built_in_one() -> None:
    own = EndOfLife(
        product="pgbouncer", cycle="1.25", until=NOW.date() + timedelta(days=10), source="https://x.example"
    )
    program = packages.Program("pooler", "local", lambda: pytest.fail("nobody is asked"))
    found = packages.supported("pgbouncer", "1.25.0", program, table([own]), NOW)
    assert found.value is not None
    assert 10 < found.value < 11


def test_postgresql_14_is_past_its_end() -> None:
    program = packages.Program("db", "local", lambda: pytest.fail("nobody is asked"))
    found = packages.supported("postgresql", "14.20", program, table(), NOW)
    assert found.value is not None
    assert found.value < 0


def test_every_ending_names_its_source() -> None:
    assert all(each.source.startswith("https://") for each in table().values())


def test_os_release_is_unquoted() -> None:
    text = '# comment\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
    assert packages.os_release(text)["VERSION_ID"] == "12"
    assert packages.os_release(text)["ID"] == "debian"


@pytest.mark.parametrize(("days", "due"), [(0, False), (6.9, False), (7, True), (400, True), (-1, True)])
def test_a_first_walk_is_due_a_week_after_the_data_was_made(days: float, due: bool) -> None:
    found = checksums.unwalked(NOW - timedelta(days=days), SERVER, NOW)
    assert found.value is None
    assert found.applicable is due


# What apt says of an installed package ------------------------------------------------------------------------

KNOWN = """\
Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://deb.example/pgdg bookworm-pgdg/main amd64 Packages
     release o=apt.postgresql.org,a=bookworm-pgdg,n=bookworm-pgdg,l=PostgreSQL for Debian/Ubuntu repository,c=main
     origin deb.example
 500 http://deb.example/debian bookworm/main amd64 Packages
     release v=12.12,o=Debian,a=oldstable,n=bookworm,l=Debian,c=main,b=amd64
     origin deb.example
 500 http://deb.example/ubuntu noble/universe amd64 Packages
     release v=24.04,o=Ubuntu,a=noble,n=noble,l=Ubuntu,c=universe,b=amd64
     origin deb.example
Pinned packages:
"""


def policy(*places: str) -> str:
    lines = ["pgbouncer:", "  Installed: 1.18.0-1", "  Candidate: 1.25.2-1", "  Version table:", "     1.25.2-1 500"]
    lines += ["        500 http://deb.example/debian bookworm/main amd64 Packages", " *** 1:1.18.0-1+deb12u1 500"]
    lines += [f"        500 http://deb.example/{place} amd64 Packages" for place in places]
    return "\n".join([*lines, "        100 /var/lib/dpkg/status", ""])


def test_a_package_of_its_distribution_s_own_archive_is_mended_by_it() -> None:
    found = distribution.parse(policy("pgdg bookworm-pgdg/main", "debian bookworm/main"), KNOWN)
    assert found == distribution.Installed("1.18.0", distribution.Archive("debian", "12.12"))


@pytest.mark.parametrize("places", [(), ("pgdg bookworm-pgdg/main",), ("ubuntu noble/universe",), ("gone sid/main",)])
def test_a_package_from_elsewhere_is_not_the_distribution_s_to_mend(places: tuple[str, ...]) -> None:
    assert distribution.parse(policy(*places), KNOWN) is None


@given(st.text(), st.text())
def test_whatever_apt_prints_is_read_or_refused(said: str, known: str) -> None:
    distribution.parse(said, known)
    distribution.parse(f"{policy('debian bookworm/main')} *** \n{said}", f"{KNOWN}{known}")


@pytest.mark.clause("PMT")
def test_a_product_without_an_end_of_its_own_ends_with_its_distribution() -> None:
    async def version() -> tuple[str, str]:
        return "pgbouncer", "1.18.0"

    program = packages.Program("pgbouncer", "local", version)
    debian = distribution.Archive("debian", "12.12")
    found = packages.supported(*PGBOUNCER, program, table(), NOW, distribution.Installed("1.18.0", debian))
    assert found.value == pytest.approx((datetime(2028, 6, 11, tzinfo=UTC) - NOW).total_seconds() / 86_400, abs=0.1)
    assert "mended by debian 12.12" in found.why
    older = packages.supported(*PGBOUNCER, program, table(), NOW, distribution.Installed("1.19.0", debian))
    assert older.value is None
    assert "restart" in older.why
    sid = distribution.Installed("1.18.0", distribution.Archive("debian", "99"))
    assert packages.supported(*PGBOUNCER, program, table(), NOW, sid).value is None
    assert packages.supported(*PGBOUNCER, program, table(), NOW).value is None
    # What the site itself says goes first.
    own = EndOfLife(product="pgbouncer", cycle="1.18", until=date(2026, 12, 1), source="https://wiki.example")
    said = packages.supported(*PGBOUNCER, program, table([own]), NOW, distribution.Installed("1.18.0", debian))
    assert "wiki.example" in said.why


def test_the_sample_with_the_shortest_way_counts() -> None:
    samples = [clock_spread.Sample(0.2, 0.09), clock_spread.Sample(0.002, -0.003), clock_spread.Sample(0.3, 0.1)]
    found = clock_spread.observation(samples, "transactions-1", "local")
    assert found.value == 3.0
    assert found.why == "behind the controller's clock, give or take 1 ms"
