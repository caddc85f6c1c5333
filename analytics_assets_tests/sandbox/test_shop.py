"""The sample shops: the same every time, right to the cent, and on the clock of their time zone."""

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from analytics_assets.sandbox import shop_orders, shop_world
from analytics_assets.sandbox.shop import (
    SAMPLE_SHOPS,
    Shop,
    customer_pages,
    order_pages,
    refund_pages,
    write_shop,
)

Record = dict[str, Any]
Pages = Callable[[Shop, date, date], Iterator[list[Record]]]
STREAMS: dict[str, Pages] = {"orders": order_pages, "refunds": refund_pages, "customers": customer_pages}
FIRST, LAST = date(2026, 3, 10), date(2026, 4, 8)
ACME, CHAI, MAPLE = SAMPLE_SHOPS
each_shop = pytest.mark.parametrize("shop", SAMPLE_SHOPS, ids=lambda shop: shop.slug)
each_stream = pytest.mark.parametrize("pages", STREAMS.values(), ids=STREAMS.keys())


@cache
def records(pages: Pages, shop: Shop, first: date = FIRST, last: date = LAST) -> list[Record]:
    return list(chain.from_iterable(pages(shop, first, last)))


def latest(shop: Shop, first: date = FIRST, last: date = LAST) -> dict[int, Record]:
    return {order["id"]: order for order in records(order_pages, shop, first, last)}


def added(lines: list[Record], name: str) -> Decimal:
    return sum((Decimal(line[name]) for line in lines), Decimal(0))


def local_day(record: Record, of: str = "date_created") -> date:
    return date.fromisoformat(record[of][:10])


def forget() -> None:
    """Empties every cache, so that what follows is generated anew."""
    for module in (shop_world, shop_orders):
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()


def times(record: Any) -> Iterator[tuple[str, str]]:
    """Every pair of local and UTC time in a record."""
    for key, value in record.items():
        if key.startswith("date_") and not key.endswith("_gmt") and value is not None:
            yield value, record[f"{key}_gmt"]


# --- The same every time -----------------------------------------------------------------------------------


@each_shop
@each_stream
def test_generated_anew_it_is_the_same(shop: Shop, pages: Pages) -> None:
    last = FIRST + timedelta(days=12)
    first = list(pages(shop, FIRST, last))
    forget()
    assert list(pages(shop, FIRST, last)) == first
    assert list(pages(replace(shop, seed=shop.seed + 1), FIRST, last)) != first


def test_the_lines_are_these_on_every_machine(tmp_path: Path) -> None:
    """Change the digest when the shops are changed on purpose; it must not change by machine or Python."""
    digest = sha256()
    for shop in SAMPLE_SHOPS:
        for path in write_shop(shop, FIRST, LAST, tmp_path / shop.slug).values():
            digest.update(gzip.decompress(path.read_bytes()))
    assert digest.hexdigest() == "82b5bd42d3d36a85acc201a075dea0f601d8688abe6b926092190a63e378f1ed"


@each_shop
@each_stream
def test_a_range_extended_at_its_end_begins_with_the_same_pages(shop: Shop, pages: Pages) -> None:
    short = list(pages(shop, FIRST, FIRST + timedelta(days=9)))
    forget()
    long = list(pages(shop, FIRST, FIRST + timedelta(days=15)))
    assert long[: len(short)] == short
    assert len(long) > len(short)


@each_shop
def test_a_range_extended_at_its_start_keeps_every_record(shop: Shop) -> None:
    for pages in STREAMS.values():
        whole = [json.dumps(record) for record in records(pages, shop)]
        later = [json.dumps(record) for record in records(pages, shop, FIRST + timedelta(days=7))]
        assert set(later) < set(whole)


def test_a_file_is_the_same_byte_for_byte_and_has_no_partial_beside_it(tmp_path: Path) -> None:
    one = write_shop(ACME, FIRST, LAST, tmp_path / "one")
    forget()
    two = write_shop(ACME, FIRST, LAST, tmp_path / "two")
    assert {name: path.name for name, path in one.items()} == {name: f"{name}.jsonl.gz" for name in STREAMS}
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(p.name for p in one.values())
    for name, path in one.items():
        assert path.read_bytes() == two[name].read_bytes()
        assert path.read_bytes()[4:8] == bytes(4), "the header carries the time of writing"
        lines = gzip.decompress(path.read_bytes()).splitlines()
        assert [json.loads(line) for line in lines] == list(STREAMS[name](ACME, FIRST, LAST))


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: path.read_bytes() for name, path in write_shop(CHAI, FIRST, FIRST, tmp_path).items()}

    def broken(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("analytics_assets.sandbox.shop.refund_record", broken)
    with pytest.raises(OSError, match="disk full"):
        write_shop(CHAI, FIRST, LAST, tmp_path)
    assert {path.name.partition(".")[0]: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_range_without_days_is_refused() -> None:
    with pytest.raises(ValueError, match="a range"):
        order_pages(ACME, LAST, FIRST)


# --- Pages -------------------------------------------------------------------------------------------------


@each_stream
def test_pages_hold_one_day_each_and_a_hundred_records_at_most(pages: Pages) -> None:
    big = replace(ACME, orders_per_day=600)
    first, last = FIRST, FIRST + timedelta(days=3)
    when = "date_modified" if pages is order_pages else "date_created"
    found = list(pages(big, first, last))
    per_day: dict[str, list[int]] = {}
    for page in found:
        (day,) = {record[when][:10] for record in page}
        per_day.setdefault(day, []).append(len(page))
        assert [record["id"] for record in page] == sorted(record["id"] for record in page)
    assert list(per_day) == sorted(per_day)
    for sizes in per_day.values():
        assert all(size == 100 for size in sizes[:-1])
        assert 1 <= sizes[-1] <= 100
    if pages is not refund_pages:
        assert max(len(sizes) for sizes in per_day.values()) > 1


@each_shop
def test_ids_are_unique_but_for_the_versions_of_an_order(shop: Shop) -> None:
    orders, refunds = latest(shop), records(refund_pages, shop)
    kinds = ("line_items", "shipping_lines", "tax_lines", "fee_lines", "coupon_lines")
    posts = [*orders, *(refund["id"] for refund in refunds)]
    items = [line["id"] for record in (*orders.values(), *refunds) for kind in kinds for line in record.get(kind, [])]
    customers = [customer["id"] for customer in records(customer_pages, shop)]
    for ids in (posts, items, customers):
        assert len(ids) == len(set(ids)) > 0


# --- Money -------------------------------------------------------------------------------------------------


@each_shop
def test_the_sums_of_every_order_add_up_to_the_cent(shop: Shop) -> None:
    orders = records(order_pages, shop)
    for order in orders:
        lines, fees, shipping = order["line_items"], order["fee_lines"], order["shipping_lines"]
        goods, tax = added(lines, "total"), Decimal(order["total_tax"])
        assert added(lines, "subtotal") - goods == Decimal(order["discount_total"])
        assert added(lines, "subtotal_tax") - added(lines, "total_tax") == Decimal(order["discount_tax"])
        assert added(order["coupon_lines"], "discount") == Decimal(order["discount_total"])
        assert added(lines, "total_tax") + added(fees, "total_tax") == Decimal(order["cart_tax"])
        assert added(shipping, "total") == Decimal(order["shipping_total"])
        assert added(shipping, "total_tax") == Decimal(order["shipping_tax"])
        assert Decimal(order["cart_tax"]) + Decimal(order["shipping_tax"]) == tax
        assert added(order["tax_lines"], "tax_total") == Decimal(order["cart_tax"])
        assert goods + Decimal(order["shipping_total"]) + added(fees, "total") + tax == Decimal(order["total"])
        assert Decimal(order["total"]) > 0
        for line in lines:
            assert line["quantity"] > 0
            assert 0 <= Decimal(line["total"]) <= Decimal(line["subtotal"])
            assert abs(Decimal(line["total"]) * shop.tax_rate - Decimal(line["total_tax"])) <= Decimal("0.005")
            assert line["price"] * line["quantity"] == pytest.approx(float(line["total"]))
    assert any(len(order["line_items"]) > 1 and order["coupon_lines"] for order in orders)
    assert any(order["fee_lines"] for order in orders)
    assert len({order["shipping_total"] for order in orders}) == 2


@pytest.mark.parametrize(
    ("amount", "over", "shares"),
    [
        ("0.10", ["1.00", "1.00", "1.00"], ["0.04", "0.03", "0.03"]),
        ("3.00", ["1.00", "2.00"], ["1.00", "2.00"]),
        ("0.01", ["0.01", "9.99"], ["0.00", "0.01"]),
        ("0.00", ["5.00", "7.00"], ["0.00", "0.00"]),
    ],
)
def test_a_discount_is_spread_to_the_cent(amount: str, over: list[str], shares: list[str]) -> None:
    spread = shop_orders.spread(Decimal(amount), [Decimal(part) for part in over])
    assert [str(share) for share in spread] == shares


@each_shop
@each_stream
def test_records_survive_json_and_money_is_text_with_two_decimals(shop: Shop, pages: Pages) -> None:
    money = {
        *("total", "subtotal", "total_tax", "subtotal_tax", "discount", "discount_total", "discount_tax"),
        *("shipping_total", "shipping_tax", "cart_tax", "amount", "tax_total", "shipping_tax_total"),
    }
    found = records(pages, shop)
    assert json.loads(json.dumps(found)) == found

    def check(value: Any) -> None:
        if isinstance(value, list):
            for one in value:
                check(one)
        elif isinstance(value, dict):
            for key, one in value.items():
                if key in money:
                    assert one == f"{Decimal(one):.2f}" != "-0.00"
                elif key == "price":
                    assert isinstance(one, int | float)
                check(one)

    check(found)


# --- What happens to an order later ------------------------------------------------------------------------


@each_shop
def test_refunds_never_exceed_the_order_and_the_order_knows_them(shop: Shop) -> None:
    orders, refunds = latest(shop), records(refund_pages, shop)
    by_order: dict[int, list[Record]] = {}
    for refund in refunds:
        by_order.setdefault(refund["parent_id"], []).append(refund)
        lines = [*refund["line_items"], *refund["shipping_lines"], *refund["fee_lines"]]
        assert added(lines, "total") + added(lines, "total_tax") == -Decimal(refund["amount"]) < 0
        assert all(line["quantity"] < 0 for line in refund["line_items"])
    for order_id, order in orders.items():
        given = by_order.pop(order_id, [])
        assert order["refunds"] == [
            {"id": refund["id"], "reason": refund["reason"], "total": f"-{refund['amount']}"} for refund in given
        ]
        back = added(given, "amount")
        assert back <= Decimal(order["total"])
        assert (order["status"] == "refunded") == (back == Decimal(order["total"]))
        bought = {str(line["id"]): line for line in order["line_items"]}
        returned: Counter[str] = Counter()
        for refund in given:
            days = (date.fromisoformat(refund["date_created"][:10]) - date.fromisoformat(order["date_created"][:10])).days
            assert 1 <= days <= shop_orders.LOOK_BACK
            for line in refund["line_items"]:
                returned[line["meta_data"][0]["value"]] -= line["quantity"]
        assert all(quantity <= bought[item]["quantity"] for item, quantity in returned.items())
        if given:
            assert order["date_modified_gmt"] == given[-1]["date_created_gmt"]
    assert not by_order
    statuses = {orders[refund["parent_id"]]["status"] for refund in refunds}
    assert statuses > {"refunded"}


def test_some_orders_are_refunded_more_than_once() -> None:
    assert any(len(order["refunds"]) > 1 for order in latest(ACME).values())


@each_shop
def test_three_per_cent_of_orders_change_within_three_days(shop: Shop) -> None:
    versions: dict[int, list[Record]] = {}
    for order in records(order_pages, shop, date(2026, 1, 1)):
        versions.setdefault(order["id"], []).append(order)
    changed = [v for v in versions.values() if len(v) > 1 and not v[-1]["refunds"]]
    assert 0.015 < len(changed) / len(versions) < 0.05
    kinds: Counter[str] = Counter()
    for before, after in changed:
        assert before["status"] in ("pending", "processing")
        assert after["date_modified_gmt"] > before["date_modified_gmt"]
        age = local_day(after, "date_modified") - local_day(before)
        assert 1 <= age.days <= 3
        edited = after["status"] == before["status"]
        kinds["edited" if edited else after["status"]] += 1
        assert (Decimal(after["total"]) < Decimal(before["total"])) == edited
        fewer = added(before["line_items"], "quantity") - added(after["line_items"], "quantity")
        assert fewer == edited
    assert set(kinds) == {"edited", "cancelled", "completed"}


@each_shop
def test_statuses_and_payments_agree(shop: Shop) -> None:
    orders = latest(shop).values()
    shares = Counter(order["status"] for order in orders)
    assert set(shares) == {"completed", "processing", "refunded", "cancelled", "failed", "pending", "on-hold"}
    assert 0.6 < shares["completed"] / len(orders) < 0.75
    for order in orders:
        if order["status"] in ("completed", "processing", "refunded"):
            assert order["date_created_gmt"] <= order["date_paid_gmt"] <= order["date_modified_gmt"]
        elif order["status"] != "cancelled":
            assert order["date_paid"] is order["date_paid_gmt"] is None
        assert (order["date_completed"] is not None) or order["status"] != "completed"


# --- People ------------------------------------------------------------------------------------------------


@each_shop
def test_customers_register_once_and_order_from_then_on(shop: Shop) -> None:
    customers = {customer["id"]: customer for customer in records(customer_pages, shop)}
    assert len({customer["email"] for customer in customers.values()}) == len(customers)
    bought: Counter[int] = Counter()
    for order in latest(shop).values():
        email = order["billing"]["email"]
        assert email.strip().lower().rpartition("@")[2] in ("example.com", "example.org", "example.net")
        if order["customer_id"] in customers:
            customer = customers[order["customer_id"]]
            bought[customer["id"]] += 1
            assert email == customer["email"]
            assert order["date_created_gmt"] >= customer["date_created_gmt"]
    assert set(bought) == set(customers)
    assert max(bought.values()) > 1


@each_shop
def test_guests_type_oddly_and_some_register_later(shop: Shop) -> None:
    orders = latest(shop).values()
    guests = [order for order in orders if order["customer_id"] == 0]
    assert 0.2 < len(guests) / len(orders) < 0.3
    typed = [order["billing"]["email"] for order in guests]
    assert any(email != email.strip() for email in typed)
    assert any(email != email.lower() for email in typed)
    seen = {order["billing"]["email"].strip().lower(): order["date_created_gmt"] for order in reversed(guests)}
    registered = [c for c in records(customer_pages, shop) if seen.get(c["email"], "9") < c["date_created_gmt"]]
    assert registered


# --- Clocks ------------------------------------------------------------------------------------------------


@each_shop
def test_local_and_utc_times_are_one_instant(shop: Shop) -> None:
    zone = ZoneInfo(shop.time_zone)
    offsets = set()
    for pages in STREAMS.values():
        for record in records(pages, shop):
            for local, gmt in times(record):
                instant = datetime.fromisoformat(gmt).replace(tzinfo=UTC).astimezone(zone)
                assert instant.replace(tzinfo=None).isoformat() == local
                offsets.add(instant.utcoffset())
    hours = {offset / timedelta(hours=1) for offset in offsets if offset is not None}
    assert hours == {"acme": {1.0, 2.0}, "chai-house": {5.5}, "maple-books": {-4.0}}[shop.slug]


def test_the_half_hour_zone_is_five_and_a_half_hours_ahead() -> None:
    for order in records(order_pages, CHAI, FIRST, FIRST):
        ahead = datetime.fromisoformat(order["date_created"]) - datetime.fromisoformat(order["date_created_gmt"])
        assert ahead == timedelta(hours=5, minutes=30)
        assert order["date_created"].startswith(FIRST.isoformat())


def by_local_hour(day: date) -> Counter[tuple[int, int]]:
    """Acme's orders of a day, counted by local hour and UTC offset, over enough seeds to meet every hour."""
    met: Counter[tuple[int, int]] = Counter()
    busy = replace(ACME, orders_per_day=2000)
    for order in records(order_pages, busy, day, day):
        local, gmt = (datetime.fromisoformat(order[name]) for name in ("date_created", "date_created_gmt"))
        assert local.date() == day
        met[local.hour, round((local - gmt) / timedelta(hours=1))] += 1
    return met


def test_the_hour_that_spring_skips_has_no_orders() -> None:
    met = by_local_hour(date(2026, 3, 29))
    assert set(met) == {(0, 1), (1, 1), *((hour, 2) for hour in range(3, 24))}


def test_the_hour_that_autumn_repeats_has_orders_in_both() -> None:
    met = by_local_hour(date(2026, 10, 25))
    assert set(met) == {(0, 2), (1, 2), (2, 2), *((hour, 1) for hour in range(2, 24))}


@each_shop
def test_business_has_its_hours_and_grows(shop: Shop) -> None:
    counts = Counter(int(order["date_created"][11:13]) for order in latest(shop).values())
    assert counts[20] > 4 * (counts[3] + 1)
    early, late = (
        sum(shop_world.head_counts(shop, start + timedelta(days=n))[0] for n in range(56))
        for start in (date(2026, 1, 5), date(2026, 11, 2))
    )
    assert late > 1.05 * early
    assert early == pytest.approx(56 * shop.orders_per_day, rel=0.1)
