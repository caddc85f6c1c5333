"""`analytics funnels` as an operator meets it, and the grammar of steps."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_assets.funnels.definitions import (
    EVENT_TYPES,
    FunnelError,
    check_step,
    make_funnel,
    parse_step,
    parse_window,
    read_funnel,
    step_text,
    window_text,
)
from analytics_assets_tests.funnels.model import Event, add_events, compute, noon_in_berlin
from analytics_assets_tests.test_cli import done, misused, refused
from analytics_assets_tests.woocommerce import Connection, add_organization

GRAMMAR: list[tuple[str, dict[str, Any]]] = [
    ("Product Viewed", {"name": "Product Viewed", "event": "Product Viewed"}),
    ("Checkout: Checkout Started", {"name": "Checkout", "event": "Checkout Started"}),
    ("Thanks: page=/thanks*", {"name": "Thanks", "page": "/thanks*"}),
    ("page=/thanks*", {"name": "/thanks*", "page": "/thanks*"}),
    ("type=screen", {"name": "screen", "type": "screen"}),
    ("P: Order type=track page=https://a.example/*", {"name": "P", "event": "Order", "type": "track", "page": "https://a.example/*"}),
    (
        "Shoes: Product Added where category=shoes",
        {"name": "Shoes", "event": "Product Added", "properties": {"category": "shoes"}},
    ),
    (
        'x where a = 2 and b=true AND c="2" and d=two words',
        {"name": "x", "event": "x", "properties": {"a": 2, "b": True, "c": "2", "d": "two words"}},
    ),
    ("type=page where title=Hi", {"name": "page", "type": "page", "properties": {"title": "Hi"}}),
    ("Nowhere: Somewhere", {"name": "Nowhere", "event": "Somewhere"}),
    ("app:opened", {"name": "app:opened", "event": "app:opened"}),
]  # fmt: skip
BAD_STEPS = [
    ("", "nothing to look for"),
    ("Name: ", "nothing to look for"),
    (": Event", "no name before the colon"),
    ("where a=1", "nothing to look for"),
    ("x where a", "expected PROPERTY=VALUE, not 'a'"),
    ("x where a=1 and", "PROPERTY=VALUE"),
    ("x where a=1 and a=2", "property 'a' is asked for twice"),
    ("x type=fax", "type 'fax': expected one of track, page, screen"),
    ("x page=", "page ''"),
    ("x page=/a page=/b", "page= stands there twice"),
    ("x" * 101, "expected text of 1 to 100 characters"),
    ("a\x00b", "event"),
]


@pytest.mark.parametrize(("text", "step"), GRAMMAR, ids=lambda value: str(value)[:30])
def test_a_step_says_what_it_looks_for(text: str, step: dict[str, Any]) -> None:
    assert parse_step(text) == step
    assert parse_step(step_text(step)) == step


@pytest.mark.parametrize(("text", "words"), BAD_STEPS, ids=lambda value: value[:30])
def test_a_step_that_is_not_allowed_says_why(text: str, words: str) -> None:
    with pytest.raises(FunnelError) as refusal:
        parse_step(text, 3)
    assert words in str(refusal.value) and str(refusal.value).startswith("step 3 ")


_TEXT = st.from_regex(r"[A-Za-z][A-Za-z0-9_.\-]{0,12}( [A-Za-z0-9_.\-]{2,8})?", fullmatch=True).filter(
    lambda text: not {"where", "and"} & set(text.lower().split())
)


@given(
    st.fixed_dictionaries(
        {"name": _TEXT, "event": _TEXT},
        optional={
            "type": st.sampled_from(EVENT_TYPES),
            "page": st.from_regex(r"/[a-z0-9/*%?=&\-]{0,20}", fullmatch=True),
            "properties": st.dictionaries(
                _TEXT,
                st.one_of(_TEXT, st.booleans(), st.integers(), st.sampled_from(["1", "true", "null", None])),
                min_size=1,
                max_size=3,
            ),
        },
    )
)
def test_what_is_shown_of_a_step_is_what_makes_it(step: dict[str, Any]) -> None:
    assert parse_step(step_text(step)) == step == check_step(step, 1)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86400), ("7d", 604800), (" 2 W ", 1209600), ("90d", 7776000)]
)
def test_windows(text: str, seconds: int) -> None:
    assert parse_window(text) == timedelta(seconds=seconds) == parse_window(window_text(timedelta(seconds=seconds)))


@pytest.mark.parametrize("text", ["", "24", "h", "0s", "91d", "-1h", "1.5h", "999999999w", "1 month"])
def test_windows_that_are_not_allowed(text: str) -> None:
    with pytest.raises(FunnelError, match="window"):
        parse_window(text)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "expected an object with name, unit, window, steps"),
        ('{"name": "f", "steps": ["A"], "colour": 1}', "expected an object"),
        ('{"name": "f", "steps": []}', "0 steps: expected 1 to 20"),
        ('{"name": "f", "steps": "A"}', "no list of steps"),
        ('{"name": "f"}', "no list of steps"),
        ('{"name": "", "steps": ["A"]}', "name ''"),
        ('{"name": "f", "unit": "visit", "steps": ["A"]}', "unit 'visit': expected session"),
        ('{"name": "f", "window": 5, "steps": ["A"]}', "window 5"),
        ('{"name": "f", "steps": ["A", 7]}', "step 2: expected an object"),
        ('{"name": "f", "steps": [{"event": "A", "where": {}}]}', "step 1: no field 'where'"),
        ('{"name": "f", "steps": [{"event": 7}]}', "step 1: event 7"),
        ('{"name": "f", "steps": [{"event": "A", "properties": []}]}', "step 1: properties"),
        ('{"name": "f", "steps": [{"properties": {"a": 1}}]}', "step 1: nothing to look for"),
    ],
)
def test_files_that_are_not_allowed(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "funnel.json"
    file.write_text(content)
    with pytest.raises(FunnelError) as refusal:
        read_funnel(file)
    assert words in str(refusal.value) and str(file) in str(refusal.value)


def test_a_unit_has_a_window_of_its_own() -> None:
    assert make_funnel("f", "session", None, ["A"]).window == timedelta(hours=24)
    assert make_funnel("f", "user", None, ["A"]).window == timedelta(days=7)


def test_funnels(connection: Connection, tmp_path: Path) -> None:
    organization = add_organization(connection, "acme", "Europe/Berlin")
    noon = noon_in_berlin(3)
    add_events(
        connection,
        organization,
        [
            *(Event(noon, f"v{number}", name="Product Viewed") for number in range(8)),
            *(Event(noon, f"v{number}", name="Product Added", properties={"category": "shoes"}) for number in range(2)),
            Event(noon + timedelta(hours=1), "v0", name="Page Viewed", kind="page", page="https://shop.example/thanks?id=5"),
        ],
    )
    connection.commit()
    steps = ["--step", "Product Viewed", "--step", "Shoes: Product Added where category=shoes", "--step", "Thanks: page=/thanks*"]
    add = ["funnels", "add", "--organization", "acme", "--name", "checkout", *steps]
    assert "no funnels yet" in done("funnels", "list")
    said = done(*add, "--window", "24h", "--unit", "session")
    assert "funnel 'checkout' of acme added" in said and "2. Shoes: Product Added where category=shoes" in said
    assert f"4 days from {noon:%Y-%m-%d} on" in said and "--assets funnel_analysis" in said
    assert "is there already, as version 1" in done(*add)
    assert "changed: version 2" in done(*add, "--window", "2h")
    file = tmp_path / "funnel.json"
    file.write_text(
        json.dumps(
            {
                "name": "checkout",
                "window": "2h",
                "steps": [
                    "Product Viewed",
                    {"name": "Shoes", "event": "Product Added", "properties": {"category": "shoes"}},
                    "Thanks: page=/thanks*",
                ],
            }
        )
    )
    assert "is there already, as version 2" in done("funnels", "add", "--organization", "acme", "--file", str(file))

    show = ["funnels", "show", "--organization", "acme", "--name", "checkout"]
    assert "no entry from" in done(*show)
    compute(connection, [organization], noon.date(), noon_in_berlin(0).date())
    connection.commit()
    lines = done(*show).splitlines()
    assert lines[0] == f"checkout of acme, version 2: {noon:%Y-%m-%d} to {noon:%Y-%m-%d}, 1 days with entries"
    assert [line.count("█") for line in lines[1:]] == [40, 10, 5]
    assert ["  8 " in lines[1], "  2 " in lines[2], "  1 " in lines[3]] == [True] * 3
    assert "25.0 % go on" in lines[1] and "50.0 % go on" in lines[2] and lines[3].rstrip().endswith("12.5 %")
    listed = done("funnels", "list", "--organization", "acme")
    assert "Product Viewed > Shoes > Thanks" in listed and "checkout" in listed

    day = ["--from", f"{noon - timedelta(days=2):%Y-%m-%d}", "--to", f"{noon:%Y-%m-%d}"]
    assert "no entry from" in done(*show, *day)
    assert "removed; 4 days lose its rows" in done("funnels", "remove", "--organization", "acme", "--name", "checkout")
    refused("no funnel 'checkout' of acme", "funnels", "remove", "--organization", "acme", "--name", "checkout")
    assert "no funnels yet" in done("funnels", "list")
    assert "counted again, as version 2" in done(*add, "--window", "2h")


def test_funnels_refused(connection: Connection, tmp_path: Path) -> None:
    refused("no organisation 'nobody'", "funnels", "add", "--organization", "nobody", "--name", "f", "--step", "A")
    refused("no organisation 'nobody'", "funnels", "list", "--organization", "nobody")
    add_organization(connection)
    refused("no funnel 'x' of acme", "funnels", "show", "--organization", "acme", "--name", "x")
    base = ["funnels", "add", "--organization", "acme"]
    misused("expected --name and at least one --step", *base)
    misused("expected --name and at least one --step", *base, "--name", "f")
    misused("step 1 'x type=fax': type 'fax'", *base, "--name", "f", "--step", "x type=fax")
    misused("window '1y'", *base, "--name", "f", "--step", "x", "--window", "1y")
    misused("unit 'visit'", *base, "--name", "f", "--step", "x", "--unit", "visit")
    file = tmp_path / "f.json"
    file.write_text('{"name": "f", "steps": ["A"]}')
    misused("says everything", *base, "--name", "f", "--file", str(file))
    misused("21 steps", *base, "--name", "f", *(part for _ in range(21) for part in ("--step", "A")))
    misused(
        "is not before", "funnels", "show", "--organization", "acme", "--name", "f", "--from", "2026-02-02", "--to", "2026-02-02"
    )
