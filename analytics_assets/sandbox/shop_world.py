"""What the sample shops are made of: the shops, their catalogue, their calendar and their people.

Everything is a pure function of (shop, local day, index), so that no state is carried from day to day.
Randomness comes from `Dice`, which draws with `random()` alone: the one method of `random.Random` whose
sequence Python promises to keep. Instants are whole seconds since 1970 UTC; days are the shop's local days.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import TypeVar
from unicodedata import normalize
from zoneinfo import ZoneInfo

T = TypeVar("T")
EPOCH = date(2010, 1, 1)
OPENING = date(2011, 1, 1)
_GROWTH_BASE = date(2026, 1, 5)
_WEEKDAYS = (1.05, 0.95, 0.95, 1.0, 0.95, 0.9, 1.2)
_HOURS = (8, 5, 3, 2, 2, 4, 9, 18, 29, 38, 45, 47, 49, 46, 42, 40, 41, 44, 50, 57, 63, 60, 42, 20)
_NEW_SHARE, _GUEST_SHARE = 0.40, 0.25


@dataclass(frozen=True)
class Shop:
    """One sample shop.

    `orders_per_day` is the mean at the start of 2026; `price_level` is the local price of what costs 1 euro;
    `tax_rate` is a share (0.19), charged on top of prices that exclude it.
    """

    slug: str
    name: str
    time_zone: str
    currency: str
    orders_per_day: int
    seed: int
    price_level: Decimal
    tax_rate: Decimal


SAMPLE_SHOPS: tuple[Shop, ...] = (
    Shop("acme", "Acme Outdoor", "Europe/Berlin", "EUR", 60, 11, Decimal("1"), Decimal("0.19")),
    Shop("chai-house", "Chai House", "Asia/Kolkata", "INR", 35, 23, Decimal("45"), Decimal("0.18")),
    Shop("maple-books", "Maple Books", "America/Toronto", "CAD", 25, 37, Decimal("1.5"), Decimal("0.05")),
)


class Dice(random.Random):
    """Seeded by a string; every draw goes through `random()`, so it is the same on every machine."""

    def below(self, n: int) -> int:
        """A whole number in 0..n-1."""
        return int(self.random() * n)

    def chance(self, share: float) -> bool:
        """True in that share of the cases."""
        return self.random() < share

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, as likely as its weight."""
        left = self.below(sum(weights))
        for index, weight in enumerate(weights):
            left -= weight
            if left < 0:
                return index
        raise ValueError("weights must be positive")

    def hex(self, digits: int) -> str:
        """That many hexadecimal digits."""
        return "".join("0123456789abcdef"[self.below(16)] for _ in range(digits))


def dice(shop: Shop, *about: object) -> Dice:
    """The dice of one subject of a shop, in most cases a local day."""
    return Dice(":".join(str(part) for part in (shop.seed, shop.slug, *about)))


# --- Catalogue ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Product:
    """An article and its price in the shop's currency, without tax."""

    id: int
    name: str
    sku: str
    price: Decimal


# By shop: how a name is put together; (variant, per cent of the base price); (article, base price in euro).
_Range = tuple[str, tuple[tuple[str, int], ...], tuple[tuple[str, int], ...]]
_OUTDOOR: _Range = (
    "{variant} {article}",
    (("Ridge", 90), ("Tarn", 100), ("Heath", 115), ("Summit", 140)),
    (("Wool Socks", 15), ("Steel Bottle", 19), ("Headlamp", 35), ("Dry Bag", 25), ("Camp Stove", 49),
     ("Trekking Poles", 59), ("Rain Jacket", 119), ("Sleeping Bag", 99), ("Hiking Boots", 139),
     ("Tent for Two", 189)),
)  # fmt: skip
_TEA: _Range = (
    "{variant} {article}",
    (("Assam", 90), ("Masala", 100), ("Nilgiri", 110), ("Darjeeling", 135)),
    (("Tea Bags 50", 5), ("Loose Leaf 250 g", 7), ("Spice Jar", 4), ("Sampler Box", 9), ("Steel Infuser", 6),
     ("Clay Cup Pair", 8), ("Cold Brew 500 g", 10), ("Gift Tin", 14), ("Travel Flask", 18), ("Teapot", 24)),
)  # fmt: skip
_BOOKS: _Range = (
    "{article} ({variant})",
    (("Paperback", 100), ("Hardcover", 190), ("Large Print", 160), ("Audiobook CD", 175)),
    (("A Ferry in Winter", 12), ("The Lighthouse Ledger", 14), ("Nine Kinds of Snow", 13),
     ("Bread, Slowly", 21), ("Letters to a Moose", 11), ("Birds of the North Shore", 24), ("Copper Lake", 12),
     ("The Quiet Engineer", 15), ("Maps for the Lost", 18), ("Granite and Pine", 16)),
)  # fmt: skip
_RANGES = {"acme": _OUTDOOR, "chai-house": _TEA, "maple-books": _BOOKS}


def local_price(shop: Shop, euros: Decimal) -> Decimal:
    """What costs so many euros, as this shop would price it: 24.95, or whole rupees (1349)."""
    amount = euros * shop.price_level
    if shop.price_level >= 10:
        return Decimal(max(1, round(amount / 10)) * 10 - 1).quantize(Decimal("0.01"))
    return max(1, round(amount)) - Decimal("0.05")


@lru_cache(maxsize=64)
def catalogue(shop: Shop) -> tuple[Product, ...]:
    """The forty products of a shop, the most popular first. Any further shop sells what Acme sells."""
    pattern, variants, articles = _RANGES.get(shop.slug, _OUTDOOR)
    named = [
        (pattern.format(variant=variant, article=article), Decimal(base * per_cent) / 100)
        for article, base in articles
        for variant, per_cent in variants
    ]
    return tuple(
        Product(100 + 3 * n, name, f"{shop.slug[:2].upper()}-{n + 1:03}", local_price(shop, euros))
        for n, (name, euros) in enumerate(named)
    )


# --- Calendar ----------------------------------------------------------------------------------------------


def day_number(day: date) -> int:
    """Days since EPOCH; ids are counted from there."""
    return (day - EPOCH).days


def cap(shop: Shop) -> int:
    """More than the orders that a day can have: the room that a day gets in a sequence of ids."""
    return 8 * shop.orders_per_day + 8


def _midnight(zone: ZoneInfo, day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


@lru_cache(maxsize=1024)
def day_bounds(time_zone: str, day: date) -> tuple[int, int]:
    """First second of a local day, and first second of the next: 23, 24 or 25 hours apart."""
    zone = ZoneInfo(time_zone)
    return _midnight(zone, day), _midnight(zone, day + timedelta(days=1))


@lru_cache(maxsize=1024)
def _hour_weights(time_zone: str, day: date) -> tuple[int, ...]:
    start, end = day_bounds(time_zone, day)
    zone = ZoneInfo(time_zone)
    return tuple(_HOURS[datetime.fromtimestamp(at, zone).hour] for at in range(start, end, 3600))


def moment(dice: Dice, shop: Shop, day: date) -> int:
    """A second of the local day, likely when people shop; hours that do not exist are never met."""
    start, end = day_bounds(shop.time_zone, day)
    hour = dice.weighted(_hour_weights(shop.time_zone, day))
    return min(start + 3600 * hour + dice.below(3600), end - 1)


def local_text(shop: Shop, at: int | None) -> str | None:
    """An instant as the store's wall clock shows it, without offset (WooCommerce: date_created)."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, ZoneInfo(shop.time_zone)).replace(tzinfo=None).isoformat()


def gmt_text(at: int | None) -> str | None:
    """An instant in UTC, without offset (WooCommerce: date_created_gmt)."""
    return None if at is None else datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=4096)
def head_counts(shop: Shop, day: date) -> tuple[int, int, int]:
    """Orders of a day: how many in all, how many by customers who join, how many by guests."""
    roll = dice(shop, day, "count")
    growth = min(3.0, max(0.5, 1 + 0.004 * (day - _GROWTH_BASE).days / 7))
    noise = 0.75 + 0.25 * (roll.random() + roll.random())
    orders = int(shop.orders_per_day * _WEEKDAYS[day.weekday()] * growth * noise + roll.random())
    joining = int(orders * _NEW_SHARE + roll.random())
    guests = min(orders - joining, int(orders * _GUEST_SHARE + roll.random()))
    return orders, joining, guests


# --- People ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a shop's people live, how they pay and what their tax is called."""

    country: str
    symbol: str
    tax_label: str
    cities: tuple[tuple[str, str, str], ...]
    streets: tuple[str, ...]
    phone: str
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    payments: tuple[tuple[str, str], ...]


_CARD, _PAYPAL = ("stripe", "Credit card"), ("ppcp-gateway", "PayPal")
PLACES: dict[str, Place] = {
    "EUR": Place(
        "DE", "€", "MwSt.",
        (("Berlin", "DE-BE", "10999"), ("Hamburg", "DE-HH", "20359"), ("Leipzig", "DE-SN", "04177"),
         ("Freiburg", "DE-BW", "79098"), ("Kassel", "DE-HE", "34117")),
        ("Kieselweg {n}", "Am Findling {n}", "Wolkenallee {n}", "Zur Alten Weiche {n}"), "+49 30 555{n:04}",
        ("Jörg", "Anke", "Mats", "Lena", "Söhnke", "Greta", "Emil", "Frieda", "Tarek", "Renée", "Ole", "Ida"),
        ("Brückner", "Falkenried", "Hohlweg", "Ostermoor", "Kranz", "Lindqvist", "Dünow", "Sandmann",
         "Petersilge", "Wiesengrund", "Yavuzer", "Achterberg"),
        (_CARD, _PAYPAL, ("klarna_payments", "Klarna")),
    ),
    "INR": Place(
        "IN", "₹", "GST",
        (("Bengaluru", "KA", "560001"), ("Pune", "MH", "411001"), ("Kochi", "KL", "682001"),
         ("Jaipur", "RJ", "302001"), ("Kolkata", "WB", "700001")),
        ("{n} Banyan Steps", "{n} Copper Bazaar", "{n} Second Monsoon Cross"), "+91 80 5550 {n:04}",
        ("Asha", "Vikram", "Meera", "Rohan", "Kavya", "Arjun", "Nila", "Dev", "Isha", "Farhan", "Tara"),
        ("Nairwal", "Chandrakar", "Bosewala", "Iyerson", "Deshmane", "Rathorey", "Kulwant", "Sengarh",
         "Pillaiyar", "Mirzapur"),
        (("razorpay", "UPI"), ("razorpay", "Credit card"), _PAYPAL),
    ),
    "CAD": Place(
        "CA", "$", "GST",
        (("Toronto", "ON", "M5V 0A1"), ("Ottawa", "ON", "K1P 0A1"), ("Montréal", "QC", "H2X 0A1"),
         ("Halifax", "NS", "B3J 0A1")),
        ("{n} Otter Creek Lane", "{n} Old Sawmill Road", "{n} rue du Huard"), "(555) 555-{n:04}",
        ("Margot", "Étienne", "Wren", "Caleb", "Noémie", "Silas", "June", "Anouk", "Theo", "Pearl"),
        ("Bellefleur", "MacTavender", "Okafor-Hill", "Tremblant", "Winterbourne", "Larch", "Beauséjour",
         "Fernwood", "Quillan", "Stoneboat"),
        (_CARD, _PAYPAL),
    ),
}  # fmt: skip


def place(shop: Shop) -> Place:
    """The surroundings of a shop, told by its currency; those of the euro where none are known."""
    return PLACES.get(shop.currency, PLACES["EUR"])


@dataclass(frozen=True)
class Person:
    """A buyer: a name, an address, and one clean e-mail address that no other buyer of the shop has."""

    first_name: str
    last_name: str
    street: str
    city: tuple[str, str, str]
    phone: str
    email: str


@lru_cache(maxsize=16384)
def person(shop: Shop, serial: str) -> Person:
    """The person with a serial ("c17" who came as a customer, "g17" who came as a guest)."""
    roll, home = dice(shop, "person", serial), place(shop)
    first, last = roll.pick(home.first_names), roll.pick(home.last_names)
    letters = normalize("NFKD", f"{first}.{last}".lower()).encode("ascii", "ignore").decode()
    return Person(
        first, last, roll.pick(home.streets).format(n=1 + roll.below(180)), roll.pick(home.cities),
        home.phone.format(n=roll.below(10000)),
        f"{letters}.{serial}@example.{roll.pick(('com', 'com', 'org', 'net'))}",
    )  # fmt: skip


def guest(shop: Shop, day: date, index: int) -> str:
    """The serial of the index-th guest whose first order is on that day."""
    return f"g{day_number(day) * cap(shop) + index + 1}"


@lru_cache(maxsize=1024)
def _registering(shop: Shop, day: date) -> tuple[tuple[int, int], ...]:
    """Of the guests of a day: who registers later, and after how many days (1 to 10)."""
    roll = dice(shop, day, "register")
    rolls = [(index, roll.chance(0.08), 1 + roll.below(10)) for index in range(head_counts(shop, day)[2])]
    return tuple((index, after) for index, does, after in rolls if does)


@lru_cache(maxsize=1024)
def joining(shop: Shop, day: date) -> tuple[tuple[int, str], ...]:
    """Customer id and serial of those who register on a day; the first of them had bought as guests."""
    room = head_counts(shop, day)[1]
    people = [
        guest(shop, day - timedelta(days=back), index)
        for back in range(1, 11)
        for index, after in _registering(shop, day - timedelta(days=back))
        if after == back
    ][:room]
    first_id = day_number(day) * cap(shop) + 1
    people += [f"c{first_id + index}" for index in range(len(people), room)]
    return tuple((first_id + index, one) for index, one in enumerate(people))
