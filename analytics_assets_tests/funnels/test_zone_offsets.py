"""By how much zones are ahead of UTC, and until when, against Python's copy of the zones' rules."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from analytics_assets_tests.woocommerce import Connection

# Clocks that change by an hour, by half an hour, at midnight, for a month of fasting; and days that there never were.
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "Asia/Kathmandu", "Asia/Kolkata", "Australia/Lord_Howe",
    "Pacific/Chatham", "Pacific/Apia", "Africa/Casablanca", "America/Sao_Paulo", "Asia/Amman", "America/Caracas",
)  # fmt: skip
FIRST, LAST = datetime(2011, 12, 1, 5, 7, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def test_offsets_are_those_of_every_instant(connection: Connection) -> None:
    """All periods of a zone follow one another without a gap, and hold to the second at which clocks change."""
    rows = connection.execute(
        "select time_zone, nullif(valid_from, '-infinity') as valid_from, nullif(valid_to, 'infinity') as valid_to, ahead"
        " from private.zone_offsets(%s, %s, %s) z order by z.time_zone, z.valid_from",
        (list(ZONES), FIRST, LAST),
    ).fetchall()
    assert {row["time_zone"] for row in rows} == set(ZONES)
    for zone in ZONES:
        mine = [row for row in rows if row["time_zone"] == zone]
        assert mine[0]["valid_from"] is None and mine[-1]["valid_to"] is None
        assert all(one["valid_to"] == following["valid_from"] for one, following in pairwise(mine))
        changes = [row["valid_from"] for row in mine[1:]]
        hours = [FIRST + timedelta(hours=number) for number in range(0, int((LAST - FIRST) / timedelta(hours=1)), 29)]
        instants = sorted([*hours, *changes, *(at - timedelta(seconds=1) for at in changes)])
        period = 0
        for at in instants:
            while mine[period]["valid_to"] is not None and at >= mine[period]["valid_to"]:
                period += 1
            assert at.astimezone(ZoneInfo(zone)).utcoffset() == mine[period]["ahead"], (zone, at)


def test_a_zone_whose_clocks_stand_has_one_period(connection: Connection) -> None:
    rows = connection.execute(
        "select time_zone, ahead from private.zone_offsets(array['Asia/Kolkata', 'UTC'], %s, %s)", (FIRST, LAST)
    ).fetchall()
    assert sorted((row["time_zone"], row["ahead"]) for row in rows) == [
        ("Asia/Kolkata", timedelta(hours=5, minutes=30)),
        ("UTC", timedelta(0)),
    ]
