"""What a site may say about telling people, and what is refused with its name."""

from pathlib import Path

import pytest

from siaga.errors import BadInput
from siaga.site.load import from_json, load, to_json

GOOD = """
embedded = true

[[notifications]]
name = "on-call"
kind = "pagerduty"
secret = "pagerduty-key"
webhook_secret = "pagerduty-webhook"

[[notifications]]
name = "chief"
kind = "apprise"
secret = "chief-url"
level_min = 3
after_s = 300

[heartbeat]
secret = "heartbeat-url"

[regulator]
name = "OJK"
hours = 24
"""


def test_routes_are_read_and_survive_json(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    site = load(path)
    assert [(route.name, route.level_min, route.after_s) for route in site.notifications] == [
        ("on-call", 2, 0),
        ("chief", 3, 300),
    ]
    assert from_json(to_json(site)) == site


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('kind = "apprise"', 'kind = "pigeon"', "notifications.chief.kind"),
        ("level_min = 3", "level_min = 4", "notifications.chief.level_min = 4: expected at most 3"),
        ("after_s = 300", "after_s = -1", "notifications.chief.after_s = -1: expected at least 0"),
        ('secret = "chief-url"', 'secret = "mailtos://user:pass@host"', "notifications.chief.secret"),
        ('name = "chief"', 'name = "on-call"', 'notifications: the name "on-call" is given twice'),
        ('secret = "chief-url"', 'secret = "chief-url"\nurl = "https://x.example"', "no `url` in a route of kind"),
        ("hours = 24", "hours = 0", "regulator.hours = 0: expected at least 1"),
        ('secret = "heartbeat-url"', 'url = "https://x.example"', "heartbeat"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(BadInput) as refused:
        load(path)
    assert words in refused.value.message
    assert "pass@" not in refused.value.message
