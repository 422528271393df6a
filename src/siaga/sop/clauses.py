"""The SOP, clause by clause: ids, titles, the original's words and ours, and the numbers.

The Indonesian words are quoted from document IT-OPS V3.1, revised 26 November 2025, and decide where the two languages
differ. `[…]` leaves out the name of the original's company and trade, on which no clause depends.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from siaga.errors import BadInput


class ClauseId(StrEnum):
    """The clauses' ids, in the order of the document."""

    ZDT_1 = "ZDT-1"
    ZDT_1_1A = "ZDT-1.1a"
    ZDT_1_1B = "ZDT-1.1b"
    PMT = "PMT"
    PMT_2_1 = "PMT-2.1"
    PMT_2_2 = "PMT-2.2"
    DRP = "DRP"
    DRP_3_1 = "DRP-3.1"
    DRP_3_2A = "DRP-3.2a"
    DRP_3_2B = "DRP-3.2b"
    SUM = "SUM"


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of the SOP."""

    id: ClauseId
    title: str
    indonesian: str
    """The original's words."""
    english: str
    numbers: str
    """Its numbers in words; empty where it has none."""


_ZDT = (
    Clause(
        ClauseId.ZDT_1,
        "Zero-downtime policy",
        "Platform harus menjaga uptime operasional minimal 99.99% per bulan (tidak lebih dari 4.38 menit downtime "
        "kumulatif). Kegagalan layanan dianggap sebagai Incident Level 3 (Kritis).",
        "The platform keeps an operational uptime of at least the target each month. Any service failure is an "
        "Incident Level 3 (Critical).",
        "uptime of at least 99.99 % a month; at most 4.38 min of cumulative downtime",
    ),
    Clause(
        ClauseId.ZDT_1_1A,
        "Geographic distribution",
        "Traffic pengguna didistribusikan melalui Content Delivery Network (CDN) global dengan Node aktif di Asia "
        "Tenggara dan Eropa. Jika salah satu Node mengalami kegagalan (latency spike > 500ms), traffic dialihkan "
        "otomatis ke Node terdekat dalam waktu 10 detik.",
        "User traffic is spread over a global CDN with active nodes in Southeast Asia and Europe. If a node fails "
        "(latency spike), traffic is diverted automatically to the nearest node.",
        "spike: latency over 500 ms; diverted within 10 s",
    ),
    Clause(
        ClauseId.ZDT_1_1B,
        "Session management",
        "Sesi pengguna (login sessions) dikelola oleh Session Cluster yang terpisah dari Database Cluster, memastikan "
        "kegagalan database tidak secara langsung memutuskan koneksi pengguna.",
        "Login sessions live in a Session Cluster separate from the Database Cluster, so that a database failure does "
        "not directly cut users off.",
        "no session lost to a database failure",
    ),
)
_PMT = (
    Clause(
        ClauseId.PMT,
        "Scheduled maintenance",
        "Pemeliharaan sistem dilakukan secara proaktif untuk mencegah kegagalan hardware atau bug perangkat lunak.",
        "Maintenance is proactive: it exists to prevent hardware failures and software bugs.",
        "",
    ),
    Clause(
        ClauseId.PMT_2_1,
        "Database updates",
        "Frekuensi: Setiap hari Rabu dini hari (03:00 - 04:00 WIB), waktu di mana traffic berada pada titik terendah "
        "[…]. Protokol: Pembaruan dilakukan pada Database Replica (Mirror Server) terlebih dahulu. Setelah verifikasi "
        "integrity check, traffic dialihkan ke Replica baru, dan Server lama menjadi Replica untuk backup. Prosedur "
        "ini mencegah gangguan layanan.",
        "An update is applied to the Database Replica (the mirror server) first. After a verified integrity check, "
        "traffic is switched to the new replica, and the old server becomes the replica, for backup. The procedure "
        "prevents any interruption of service.",
        "every Wednesday, 03:00–04:00 WIB, when traffic is at its lowest",
    ),
    Clause(
        ClauseId.PMT_2_2,
        "API integrity audit",
        "Frekuensi: Mingguan. Tujuan: Memastikan koneksi API ke semua vendor […] berada dalam Threshold Respon yang "
        "ditetapkan (rata-rata waktu respon < 150ms). Kegagalan Threshold akan memicu penggantian Key API dan "
        "rekonfigurasi segera.",
        "The API connections to all vendors stay inside the response threshold. Missing the threshold triggers "
        "replacement of the API key and immediate reconfiguration.",
        "weekly; average response under 150 ms",
    ),
)
_DRP = (
    Clause(
        ClauseId.DRP,
        "Disaster recovery protocol",
        "Jika terjadi kegagalan sistem total (Incident Level 3), tim IT diwajibkan mengikuti urutan prioritas berikut.",
        "On a total system failure (Incident Level 3) the team must follow the order of priority.",
        "",
    ),
    Clause(
        ClauseId.DRP_3_1,
        "Recovery priorities",
        "Prioritas 1 (Kritis): Basis Data Transaksi (Financial Integrity). Pemulihan wajib selesai dalam 30 menit RTO "
        "(Recovery Time Objective). Prioritas 2 (Penting): Basis Data Session Pengguna (Login Access). Pemulihan dalam "
        "60 menit. Prioritas 3 (Normal): Data Keluaran Historis […]. Pemulihan dalam 120 menit.",
        "Priority 1 (Critical): the transaction database (financial integrity). Priority 2 (Important): the user "
        "session database (login access). Priority 3 (Normal): historical results data.",
        "recovered within 30 min (priority 1), 60 min (priority 2), 120 min (priority 3)",
    ),
    Clause(
        ClauseId.DRP_3_2A,
        "Snapshots and rollback",
        "Setiap 15 menit, sistem secara otomatis membuat snapshot dari seluruh Basis Data Transaksi. Jika terjadi "
        "kegagalan, sistem akan rollback ke snapshot terakhir yang stabil.",
        "The system automatically takes a snapshot of all transaction databases. On a failure it rolls back to the "
        "last stable snapshot.",
        "every 15 min",
    ),
    Clause(
        ClauseId.DRP_3_2B,
        "Full validation",
        "Validasi Penuh: Setelah pemulihan, tim wajib menjalankan Validasi Cross-Check 100% antara log transaksi "
        "dengan saldo pengguna sebelum mengumumkan layanan kembali normal. Tidak ada akun yang boleh diaktifkan "
        "kembali jika integritas datanya belum terverifikasi.",
        "After a recovery, a full cross-check of the transaction log against user balances is mandatory before the "
        "service is announced as normal. No account may be reactivated while the integrity of its data is unverified.",
        "100 % of accounts",
    ),
)
_SUM = (
    Clause(
        ClauseId.SUM,
        "Strict adherence",
        "Keberhasilan […] sangat bergantung pada ketaatan yang ketat terhadap protokol ini. Strategi Zero-Downtime "
        "adalah komitmen teknis kami untuk menjamin keandalan platform, memastikan bahwa pengguna dapat mengakses "
        "layanan tanpa gangguan yang tidak terduga.",
        "The reputation depends on strict adherence: it must be visible at any moment, and provable afterwards, that "
        "each clause was followed, so that users reach the service without unexpected interruption.",
        "",
    ),
)

CLAUSES: Mapping[ClauseId, Clause] = MappingProxyType({c.id: c for c in (*_ZDT, *_PMT, *_DRP, *_SUM)})
"""Every clause, in the order of the document."""


def find(text: str) -> tuple[Clause, ...]:
    """Look up a clause by its id in any case; a section's id ("ZDT-1.1") gives each of its lettered clauses."""
    wanted = text.strip().casefold()
    found = tuple(c for c in CLAUSES.values() if wanted in (c.id.casefold(), _section(c.id)))
    if found:
        return found
    known = {str(clause_id).casefold(): clause_id for clause_id in ClauseId}
    near = difflib.get_close_matches(wanted[:40], known, n=1, cutoff=0.4)
    raise BadInput(
        f"`{text[:40]}` is no clause of the SOP, expected one of {', '.join(ClauseId)}",
        hint=f"did you mean `{known[near[0]]}`?" if near else "`siaga sop` lists every clause",
    )


def _section(clause_id: ClauseId) -> str:
    """Strip the letter that tells the paragraphs of one section apart: `zdt-1.1` for ZDT-1.1a."""
    return clause_id.casefold().rstrip("ab")
