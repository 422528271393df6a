"""What `make setup` obtains from the distribution, with rights and without."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from siaga.errors import PlatformFault
from siaga.platform import packages
from siaga.platform.packages import PANGO, SystemPackage

APT_GET = """#!/bin/sh
echo "$@" >> "{log}"
case " $* " in
*" --simulate "*no-such*) exit 100;;
*" --simulate "*) echo "Inst libfancy2 (1.0)"; echo "Inst fancy (1.0)"; echo "Conf fancy (1.0)";;
*" download "*) for name in libfancy2 fancy; do : > "$name.deb"; done;;
esac
"""
DPKG = '#!/bin/sh\nmkdir -p "$3/usr/lib"; : > "$3/usr/lib/$(basename "$2")"\n'


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package manager that notes what it is asked for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("apt-get", APT_GET.format(log=tmp_path / "asked")), ("dpkg", DPKG)):
        (programs / name).write_text(text)
        (programs / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def asked(distribution: Path) -> str:
    return (distribution / "asked").read_text()


def fancy(distribution: Path, *, after: str, newer: tuple[str, ...] = ()) -> SystemPackage:
    """Found once the package manager was asked for `after`."""
    log = distribution / "asked"
    return SystemPackage(
        "Fancy",
        ("fancy",),
        lambda: "there" if log.exists() and after in log.read_text() else None,
        newer_packages=newer,
    )


def test_root_installs_it_and_what_newer_releases_have(distribution: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    packages.obtain(fancy(distribution, after="install", newer=("fancy-extra",)))
    assert asked(distribution).splitlines() == [
        "install -y -qq --no-install-recommends fancy",
        "install -y -qq --no-install-recommends fancy-extra",
    ]


def test_without_root_it_is_unpacked_with_all_that_it_needs(
    distribution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    packages.obtain(fancy(distribution, after="download", newer=("no-such",)))
    assert "download -qq libfancy2 fancy" in asked(distribution)
    unpacked = packages.unpack_directory()
    assert sorted(path.name for path in (unpacked / "usr/lib").iterdir()) == ["fancy.deb", "libfancy2.deb"]
    assert not list(unpacked.glob("*.deb"))


def test_what_is_there_is_not_obtained_again(distribution: Path) -> None:
    packages.obtain(SystemPackage("Fancy", ("fancy",), lambda: "there"))
    assert not (distribution / "asked").exists()


def test_what_stays_missing_is_named_with_what_to_install(distribution: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(PlatformFault, match="Fancy is still missing") as failed:
        packages.obtain(fancy(distribution, after="never"))
    assert "apt-get install fancy" in failed.value.hint


def test_setup_goes_on_without_pango_and_says_so(
    distribution: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (distribution / "bin/apt-get").unlink()
    monkeypatch.setenv("PATH", str(distribution / "bin"))
    missing = SystemPackage(PANGO.name, PANGO.packages, lambda: None, required=PANGO.required)
    monkeypatch.setattr(packages, "SYSTEM_PACKAGES", (missing,))
    monkeypatch.setattr("sys.argv", ["packages"])
    assert packages.main() == 0
    assert "warning: Pango is not installed" in capsys.readouterr().err


def test_unpacked_pango_is_found_with_the_environment_that_loads_it(
    distribution: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_FONTS", distribution / "no fonts")
    assert packages.find_pango() is None
    libraries = packages.unpack_directory() / "usr/lib/x86_64-linux-gnu"
    libraries.mkdir(parents=True)
    (libraries / "libpangoft2-1.0.so.0").touch()
    found = packages.find_pango()
    assert found is not None
    assert found["LD_LIBRARY_PATH"] == str(libraries)
    assert found["XDG_DATA_HOME"].endswith("/usr/share")
