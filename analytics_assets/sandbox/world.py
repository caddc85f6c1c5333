"""The generated world that the sandbox server speaks of: organisations, their accounts at the vendors, and a clock.

Everything is a pure function of (seed, organisation, local day), so a world of a thousand organisations is made in no time
and says the same after a restart. What changes is only what has happened until now, by the clock.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from hashlib import sha256

from analytics_assets.sandbox.shop_world import Shop

# Half-hour and three-quarter zones, both hemispheres, one whose clock changes by half an hour.
_PLACES: tuple[tuple[str, str, str, str], ...] = (
    ("Europe/Berlin", "EUR", "1", "0.19"),
    ("Asia/Kolkata", "INR", "45", "0.18"),
    ("America/Toronto", "CAD", "1.5", "0.05"),
    ("Australia/Adelaide", "AUD", "1.6", "0.10"),
    ("America/New_York", "USD", "1.1", "0"),
    ("Europe/London", "GBP", "0.85", "0.20"),
    ("Asia/Kathmandu", "NPR", "145", "0.13"),
    ("America/Sao_Paulo", "BRL", "5.5", "0.12"),
    ("Australia/Lord_Howe", "AUD", "1.6", "0.10"),
    ("Asia/Tokyo", "JPY", "160", "0.10"),
)
# Units of the currency for one US dollar; the same on every day.
_PER_DOLLAR = {
    "EUR": "0.92", "INR": "84", "CAD": "1.36", "AUD": "1.52", "USD": "1", "GBP": "0.79", "NPR": "134", "BRL": "5.4", "JPY": "152",
}  # fmt: skip


@dataclass(frozen=True)
class SandboxOrganization:
    """One organisation, with an account at each of the four vendors.

    The accounts of every third organisation lie in another time zone than the organisation, and every fifth one's ad
    account is in US dollars, as it happens: hours and money have to be converted.
    """

    number: int
    slug: str
    name: str
    time_zone: str
    currency: str
    seed: int
    orders_per_day: int
    price_level: Decimal
    tax_rate: Decimal

    @property
    def property_id(self) -> str:
        """The Google Analytics property."""
        return str(300_000_000 + self.number)

    @property
    def property_zone(self) -> str:
        return "America/New_York" if self.number % 3 == 2 else self.time_zone

    @property
    def ad_account(self) -> str:
        """The Meta ad account, without act_."""
        return str(700_000_000 + self.number)

    @property
    def ad_zone(self) -> str:
        return "America/Los_Angeles" if self.number % 3 == 0 else self.time_zone

    @property
    def ad_currency(self) -> str:
        return "USD" if self.number % 5 == 4 else self.currency

    @property
    def shop_domain(self) -> str:
        """The Shopify shop."""
        return f"{self.slug}.myshopify.com"

    def _shop(self, kind: int) -> Shop:
        return Shop(
            self.slug, self.name, self.time_zone, self.currency, self.orders_per_day, self.seed * 10 + kind,
            self.price_level, self.tax_rate,
        )  # fmt: skip

    @cached_property
    def store(self) -> Shop:
        """The WooCommerce store."""
        return self._shop(3)

    @cached_property
    def shop(self) -> Shop:
        """The Shopify shop's orders."""
        return self._shop(4)

    def secret(self, name: str) -> str:
        """A credential of this organisation, by name: the same for every server of the world's seed."""
        return sha256(f"{self.seed}:{self.slug}:{name}".encode()).hexdigest()[:40]


@dataclass(frozen=True)
class World:
    """Organisations from a first day on.

    Attributes:
        first_day: the local day on which every shop opens; nothing happens before.
        late: whether reports are restated as they age (Google Analytics two days, Meta 28 days).
    """

    organizations: tuple[SandboxOrganization, ...]
    first_day: date
    late: bool = True

    @cached_property
    def by_slug(self) -> dict[str, SandboxOrganization]:
        return {one.slug: one for one in self.organizations}

    @cached_property
    def by_property(self) -> dict[str, SandboxOrganization]:
        return {one.property_id: one for one in self.organizations}

    @cached_property
    def by_ad_account(self) -> dict[str, SandboxOrganization]:
        return {one.ad_account: one for one in self.organizations}

    @cached_property
    def by_shop(self) -> dict[str, SandboxOrganization]:
        return {one.shop_domain: one for one in self.organizations}


def make_world(count: int, first_day: date, *, seed: int = 7, orders_per_day: int = 20, late: bool = True) -> World:
    """A world of so many organisations, sandbox-0001 and on; the first ones are the same in a larger world."""
    organizations = []
    for number in range(1, count + 1):
        zone, currency, level, tax = _PLACES[(number - 1) % len(_PLACES)]
        organizations.append(
            SandboxOrganization(
                number, f"sandbox-{number:04}", f"Sandbox {number}", zone, currency, seed * 100_003 + number,
                orders_per_day, Decimal(level), Decimal(tax),
            )
        )  # fmt: skip
    return World(tuple(organizations), first_day, late)


def exchange_rate(from_currency: str, to_currency: str) -> Decimal:
    """What one unit is worth, to six decimals; the same on every day."""
    return (Decimal(_PER_DOLLAR[to_currency]) / Decimal(_PER_DOLLAR[from_currency])).quantize(Decimal("0.000001"))


class Clock:
    """The world's time (UTC, whole seconds): the machine's, or one that stands still until it is set."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at, self._lock = at, threading.Lock()

    def now(self) -> datetime:
        with self._lock:
            return (self._at or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)

    def set(self, at: datetime | None) -> None:
        """None: the machine's time again."""
        with self._lock:
            self._at = at
