"""One local day of a sample shop: its orders, with every later version and refund that will befall them.

`orders_born(shop, day)` is a pure function of the shop and the day. An order carries its versions, oldest
first: the one of its own day, and at most one for a later day (a cancellation, a completion, an edit within
3 days, or refunds within `LOOK_BACK` days). A page of a later day finds its versions by generating the days
before it again. Money is Decimal to the cent; taxes are rounded half up per line, and sums are sums of lines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache

from analytics_assets.sandbox.shop_world import (
    Dice,
    Person,
    Product,
    Shop,
    cap,
    catalogue,
    day_bounds,
    day_number,
    dice,
    guest,
    head_counts,
    joining,
    local_price,
    moment,
    person,
    place,
)  # fmt: skip

LOOK_BACK = 10
_CENT, _ZERO = Decimal("0.01"), Decimal("0.00")
_STATUSES = ("completed", "processing", "cancelled", "failed", "pending", "on-hold")
_STATUS_WEIGHTS = (68, 18, 5, 3, 3, 3)
_REASONS = ("", "Wrong size", "Arrived damaged", "Changed my mind", "Not as described")
_ORIGINS = (("organic", "google"), ("utm", "newsletter"), ("utm", "meta"), ("typein", "(direct)"))


def cents(amount: Decimal) -> Decimal:
    """Rounded half up to the cent."""
    return amount.quantize(_CENT, ROUND_HALF_UP)


def spread(amount: Decimal, over: Sequence[Decimal]) -> list[Decimal]:
    """An amount divided in proportion, to the cent: the shares add up to it, and none exceeds its part."""
    parts = [int(part * 100) for part in over]
    whole, total = int(amount * 100), sum(parts)
    shares = [whole * part // total for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda n: -(whole * parts[n] % total))
    for n in by_remainder[: whole - sum(shares)]:
        shares[n] += 1
    return [cents(Decimal(share) / 100) for share in shares]


@dataclass(frozen=True)
class Line:
    """One product of a basket; `subtotal` is before the discount and `total` after it, both without tax."""

    product: Product
    quantity: int
    subtotal: Decimal
    total: Decimal
    subtotal_tax: Decimal
    total_tax: Decimal


@dataclass(frozen=True)
class Coupon:
    """A code, and a percentage or a fixed amount in the shop's currency."""

    code: str
    kind: str
    value: Decimal


@dataclass(frozen=True)
class Basket:
    """What an order charges for; every sum is the sum of its rounded parts."""

    lines: tuple[Line, ...]
    coupon: Coupon | None
    shipping: Decimal
    shipping_tax: Decimal
    fee: Decimal
    fee_tax: Decimal

    @property
    def discount(self) -> Decimal:
        return sum((line.subtotal - line.total for line in self.lines), _ZERO)

    @property
    def discount_tax(self) -> Decimal:
        return sum((line.subtotal_tax - line.total_tax for line in self.lines), _ZERO)

    @property
    def cart_tax(self) -> Decimal:
        return sum((line.total_tax for line in self.lines), self.fee_tax)

    @property
    def total(self) -> Decimal:
        goods = sum((line.total for line in self.lines), _ZERO)
        return goods + self.shipping + self.fee + self.cart_tax + self.shipping_tax


def fill(
    shop: Shop,
    wanted: Sequence[tuple[Product, int]],
    coupon: Coupon | None,
    shipping: Decimal | None = None,
    fee: Decimal = _ZERO,
) -> Basket:
    """Prices, discount and taxes of what is wanted; shipping by the shop's rule unless it is given."""
    subtotals = [product.price * quantity for product, quantity in wanted]
    goods, discount = sum(subtotals, _ZERO), _ZERO
    if coupon is not None:
        discount = cents(goods * coupon.value / 100) if coupon.kind == "percent" else min(coupon.value, goods)
    shares = spread(discount, subtotals)
    lines = tuple(
        Line(product, quantity, subtotal, subtotal - off, cents(subtotal * shop.tax_rate),
             cents((subtotal - off) * shop.tax_rate))
        for (product, quantity), subtotal, off in zip(wanted, subtotals, shares, strict=True)
    )  # fmt: skip
    if shipping is None:
        free = goods - discount >= local_price(shop, Decimal(60))
        shipping = _ZERO if free else local_price(shop, Decimal(5))
    return Basket(lines, coupon, shipping, cents(shipping * shop.tax_rate), fee, cents(fee * shop.tax_rate))


@dataclass(frozen=True)
class Refund:
    """Money given back: `lines` as (index in the basket, quantity, total, tax), all positive here."""

    id: int
    at: int
    reason: str
    lines: tuple[tuple[int, int, Decimal, Decimal], ...]
    shipping: Decimal
    shipping_tax: Decimal
    fee: Decimal
    fee_tax: Decimal

    @property
    def amount(self) -> Decimal:
        goods = sum((total + tax for _, _, total, tax in self.lines), _ZERO)
        return goods + self.shipping + self.shipping_tax + self.fee + self.fee_tax


@dataclass(frozen=True)
class Version:
    """An order as it stands after a change on a local day; `refunds` are all until then, oldest first."""

    day: date
    modified: int
    status: str
    basket: Basket
    paid: int | None
    completed: int | None
    refunds: tuple[Refund, ...] = ()


@dataclass(frozen=True)
class Order:
    """One order of a shop and its versions, oldest first, at most one for a local day."""

    id: int
    shop: Shop
    created: int
    customer_id: int
    joins: bool
    person: Person
    email: str
    payment: tuple[str, str]
    origin: tuple[str, str]
    via: str
    token: str
    versions: tuple[Version, ...]


# --- How an order comes about ------------------------------------------------------------------------------


def _choose(roll: Dice, shop: Shop) -> Basket:
    products = catalogue(shop)
    popularity = [400 // (n + 4) for n in range(len(products))]
    wanted: dict[Product, int] = {}
    for _ in range(1 + roll.weighted((45, 28, 16, 7, 4))):
        wanted[products[roll.weighted(popularity)]] = 1 + roll.weighted((70, 18, 7, 3, 2))
    coupon = None
    if roll.chance(0.12):
        fixed = local_price(shop, Decimal(5))
        goods = sum((product.price * quantity for product, quantity in wanted.items()), _ZERO)
        coupons = [Coupon("welcome10", "percent", Decimal(10)), Coupon("spring15", "percent", Decimal(15))]
        coupons += [Coupon("thanks", "fixed_cart", fixed)] if goods >= 4 * fixed else []
        coupon = roll.pick(coupons)
    fee = local_price(shop, Decimal(3)) if roll.chance(0.02) else _ZERO
    return fill(shop, list(wanted.items()), coupon, fee=fee)


def _odd(roll: Dice, email: str) -> str:
    """An e-mail address as some guests type it."""
    if roll.chance(0.85):
        return email
    return roll.pick((email.upper(), email.title(), f"{email} ", f" {email}"))


def _returning(roll: Dice, shop: Shop, day: date) -> tuple[int, str] | None:
    """A customer who registered in the last four months, more likely of late."""
    for _ in range(8):
        people = joining(shop, day - timedelta(days=1 + int(120 * roll.random() * roll.random())))
        if people:
            return roll.pick(people)
    return None


def _guest(roll: Dice, shop: Shop, day: date, index: int) -> str:
    """A guest of this day, or in one case of six one of the last month who comes again as a guest."""
    back, again = day - timedelta(days=1 + roll.below(30)), roll.chance(1 / 6)
    known = head_counts(shop, back)[2]
    return guest(shop, back, roll.below(known)) if again and known else guest(shop, day, index)


def _first_version(roll: Dice, shop: Shop, day: date, created: int, status: str) -> Version:
    last = day_bounds(shop.time_zone, day)[1] - 1
    paid, completed = min(created + 5 + roll.below(90), last), None
    modified = paid
    if status == "completed":
        modified = completed = paid + int(roll.random() * min(last - paid, 8 * 3600))
    elif status == "cancelled":
        modified = min(created + 600 + roll.below(3000), last)
    is_paid = status in ("completed", "processing")
    return Version(day, modified, status, _choose(roll, shop), paid if is_paid else None, completed)


def _changed(roll: Dice, shop: Shop, was: Version) -> Version:
    """The version of 1 to 3 days later: cancelled, completed, or edited (one quantity lowered)."""
    day = was.day + timedelta(days=1 + roll.below(3))
    at = moment(roll, shop, day)
    change, basket = roll.pick(("cancelled", "completed", "edited")), was.basket
    many = [n for n, line in enumerate(basket.lines) if line.quantity > 1]
    if change == "edited" and many:
        lowered = roll.pick(many)
        wanted = [(line.product, line.quantity - (n == lowered)) for n, line in enumerate(basket.lines)]
        basket = fill(shop, wanted, basket.coupon, basket.shipping, basket.fee)
        return Version(day, at, was.status, basket, was.paid, None)
    if change == "cancelled":
        return Version(day, at, "cancelled", basket, was.paid, None)
    return Version(day, at, "completed", basket, was.paid or at, at)


def _whats_left(basket: Basket, refunds: Sequence[Refund]) -> list[tuple[int, int, Decimal, Decimal]]:
    left = []
    for n, line in enumerate(basket.lines):
        gone = [item for refund in refunds for item in refund.lines if item[0] == n]
        quantity = line.quantity - sum(item[1] for item in gone)
        total = line.total - sum((item[2] for item in gone), _ZERO)
        tax = line.total_tax - sum((item[3] for item in gone), _ZERO)
        if quantity:
            left.append((n, quantity, total, tax))
    return left


def _refunded(roll: Dice, shop: Shop, index: int, first: Version, was: Version, after: int, full: bool) -> Version:
    """The version with one more refund, so many days after the order: of all that is left, or of one line."""
    day = first.day + timedelta(days=after)
    at, basket = moment(roll, shop, day), was.basket
    lines = _whats_left(basket, was.refunds)
    if not full:
        n, quantity, total, tax = roll.pick(lines)
        back = 1 + roll.below(quantity)
        lines = [(n, back, cents(total * back / quantity), cents(tax * back / quantity))]
    extra = (basket.shipping, basket.shipping_tax, basket.fee, basket.fee_tax) if full else (_ZERO,) * 4
    refund_id = _first_id(shop, day) + cap(shop) * after + index
    refund = Refund(refund_id, at, roll.pick(_REASONS), tuple(lines), *extra)
    refunds = (*was.refunds, refund)
    is_over = sum((one.amount for one in refunds), _ZERO) == basket.total
    status = "refunded" if is_over else was.status
    return Version(day, at, status, basket, was.paid, was.completed, refunds)


def _versions(roll: Dice, shop: Shop, day: date, index: int, created: int) -> tuple[Version, ...]:
    status = _STATUSES[roll.weighted(_STATUS_WEIGHTS)]
    if roll.chance(0.03):
        first = _first_version(roll, shop, day, created, roll.pick(("pending", "processing")))
        return first, _changed(roll, shop, first)
    first = _first_version(roll, shop, day, created, status)
    fate = roll.random()
    if first.paid is None or fate >= 0.055:
        return (first,)
    after, full = 1 + roll.below(LOOK_BACK), fate < 0.025
    second = _refunded(roll, shop, index, first, first, after, full)
    if full or second.status == "refunded" or after == LOOK_BACK or roll.chance(0.75):
        return first, second
    after += 1 + roll.below(LOOK_BACK - after)
    return first, second, _refunded(roll, shop, index, first, second, after, True)


def _first_id(shop: Shop, day: date) -> int:
    """Orders and refunds count in one sequence: a day has room for its orders, then for refunds by age."""
    return day_number(day) * cap(shop) * (LOOK_BACK + 2) + 1


@lru_cache(maxsize=64)
def orders_born(shop: Shop, day: date) -> tuple[Order, ...]:
    """The orders placed on a local day, in the order of their time, which is the order of their ids."""
    roll, home = dice(shop, day), place(shop)
    count, new, guests = head_counts(shop, day)
    kinds = ["new"] * new + ["guest"] * guests + ["returning"] * (count - new - guests)
    kinds.sort(key=lambda _: roll.random())
    newcomers, orders, guest_index = iter(joining(shop, day)), [], 0
    for index, created in enumerate(sorted(moment(roll, shop, day) for _ in range(count))):
        kind = kinds[index]
        known = next(newcomers) if kind == "new" else None
        if kind == "returning":
            known = _returning(roll, shop, day)
        if known is None:
            customer_id, serial = 0, _guest(roll, shop, day, guest_index)
            guest_index += 1
        else:
            customer_id, serial = known
        who = person(shop, serial)
        versions = _versions(roll, shop, day, index, created)
        awaits_transfer = versions[0].status == "on-hold"
        orders.append(
            Order(
                id=_first_id(shop, day) + index,
                shop=shop,
                created=created,
                customer_id=customer_id,
                joins=kind == "new",
                person=who,
                email=who.email if customer_id else _odd(roll, who.email),
                payment=("bacs", "Direct bank transfer") if awaits_transfer else roll.pick(home.payments),
                origin=roll.pick(_ORIGINS),
                via="admin" if roll.chance(0.02) else roll.pick(("checkout", "store-api")),
                token=roll.hex(13),
                versions=versions,
            )
        )
    return tuple(orders)
