from __future__ import annotations

from pathlib import Path

import pytest

from siaga.errors import BadInput
from siaga.site import load

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / "examples" / "site.toml").read_text(encoding="utf-8")


def refusal(tmp_path: Path, more: str) -> str:
    path = tmp_path / "site.toml"
    path.write_text(EXAMPLE + more, encoding="utf-8")
    with pytest.raises(BadInput) as refused:
        load.load(path)
    return refused.value.message


def test_a_site_sets_its_own_limits(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        EXAMPLE
        + "\n[health]\ntime_servers = ['ntp.example']\n[health.limits]\nfsync_p99_ms = { soon = 5, now = 20 }\n",
        encoding="utf-8",
    )
    settings = load.load(path).health
    assert settings.limits.fsync_p99_ms.now == 20
    assert settings.limits.disk_space_used_percent.soon == 80
    assert settings.time_servers == ("ntp.example",)


def test_limits_in_the_wrong_order_are_named(tmp_path: Path) -> None:
    said = refusal(
        tmp_path,
        "\n[health.limits]\ndisk_space_used_percent = { soon = 95, now = 90 }\n"
        "certificate_days = { soon = 7, now = 30 }\n",
    )
    assert "disk_space_used_percent with `soon` at or below `now`" in said
    assert "certificate_days with `soon` at or above `now`" in said


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("\n[health.limits]\nfsync_p99_ms = { soon = -1, now = 20 }\n", "fsync_p99_ms"),
        ("\n[health.limits]\nfsync_p98_ms = { soon = 1, now = 20 }\n", "fsync_p98_ms"),
        ("\n[health]\ntls_endpoints = ['nowhere']\n", "tls_endpoints"),
        ("\n[health]\nscrub_mb_per_s_max = 0\n", "scrub_mb_per_s_max"),
        (
            "\n[[health.end_of_life]]\nproduct = 'valkey'\ncycle = '9.1'\nuntil = 'soon'\nsource = 'https://x.example'\n",
            "until",
        ),
    ],
)
def test_a_mistake_is_named_by_its_field(tmp_path: Path, more: str, named: str) -> None:
    assert named in refusal(tmp_path, more)
