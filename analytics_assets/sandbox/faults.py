"""Faults that the sandbox server makes when it is told to: the same ones in every run of the same requests."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from analytics_assets.sandbox.shop_world import Dice

#: Made by the middleware, alike for every vendor.
GENERIC = ("429", "500", "503", "timeout", "truncated", "html", "disconnect", "slow")
#: In a vendor's own form, by its handlers. throttled, expired, revoked, forbidden: every vendor that knows them.
#: shifting: WooCommerce. reduce, failed_job: Meta. sampled, thresholded, other_row, cut_off: remarks of Google Analytics.
OF_A_VENDOR = (
    "throttled", "expired", "revoked", "forbidden", "shifting", "reduce", "failed_job",
    "sampled", "thresholded", "other_row", "cut_off",
)  # fmt: skip
KINDS = (*GENERIC, *OF_A_VENDOR)
#: The token endpoints stand apart, so that a fault of the vendor hits a call for data and not the sign-in before it.
VENDORS = ("google_analytics", "google_token", "meta_ads", "woocommerce", "shopify", "shopify_token")


@dataclass(frozen=True)
class Fault:
    """One kind of trouble.

    Attributes:
        kind: one of KINDS.
        vendor: whose requests it hits, one of VENDORS; None: all.
        account: slug of the organisation whose requests it hits; None: all.
        share: of the requests, by seeded dice.
        most: how often in all; None: without end.
        seconds: Retry-After, or how long it hangs or takes.
        since: when it was set, by the server's count of such events; credentials issued before are what expires.
    """

    kind: str
    vendor: str | None = None
    account: str | None = None
    share: float = 1.0
    most: int | None = None
    seconds: float = 1.0
    since: int = 0

    @staticmethod
    def read(body: Any) -> Fault:
        """A fault from its JSON. Raises ValueError, naming field and value."""
        if not isinstance(body, Mapping):
            raise ValueError(f"a fault is a JSON object, not {body!r}")
        unknown = set(body) - {one.name for one in fields(Fault) if one.name != "since"}
        if unknown:
            raise ValueError(f"a fault has no field {', '.join(sorted(map(str, unknown)))}")
        fault = Fault(**{"kind": "", **body})
        if fault.kind not in KINDS:
            raise ValueError(f"kind: {fault.kind!r} is none of {', '.join(KINDS)}")
        if fault.vendor is not None and fault.vendor not in VENDORS:
            raise ValueError(f"vendor: {fault.vendor!r} is none of {', '.join(VENDORS)}")
        if not isinstance(fault.account, str | None):
            raise ValueError(f"account: {fault.account!r} is no slug")
        for name, value in (("share", fault.share), ("seconds", fault.seconds), ("most", fault.most or 0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise ValueError(f"{name}: {value!r} is no number from 0 on")
        return fault


class Faults:
    """The faults in force. A fault's dice depend on how many requests of that vendor and account it has seen, not on
    what others asked in between."""

    def __init__(self, seed: int = 7) -> None:
        self._seed, self._lock, self._clock = seed, threading.Lock(), itertools.count(1)
        self._faults: list[Fault] = []
        self._seen: Counter[tuple[int, str, str | None]] = Counter()
        self._struck: Counter[int] = Counter()
        #: How often each kind has hit a request, since the server runs.
        self.made: Counter[str] = Counter()

    def add(self, fault: Fault) -> Fault:
        """Sets a fault beside those in force; returns it with its ``since``."""
        with self._lock:
            dated = replace(fault, since=next(self._clock))
            # Readers take the list as it is: it is replaced, never changed.
            self._faults = [*self._faults, dated]
            return dated

    def clear(self) -> None:
        """No faults."""
        with self._lock:
            self._faults = []
            self._seen.clear()
            self._struck.clear()

    @property
    def active(self) -> list[Fault]:
        return list(self._faults)

    def issued(self) -> int:
        """A number for a credential that is issued now; ``refused`` wants it."""
        return next(self._clock)

    def strike(self, vendor: str, slug: str | None, kinds: Collection[str]) -> Fault | None:
        """The first fault of these kinds that hits this request, which then counts as hit."""
        return self._strike(vendor, slug, kinds, None) if self._faults else None

    def refused(self, vendor: str, slug: str | None, issued: int = 0) -> Fault | None:
        """The fault by which a credential is no longer good. One that was issued after the fault was set is good, and
        does not count as a request of the fault; one that nobody issued (0) is as old as the world."""
        return self._strike(vendor, slug, ("expired",), issued) if self._faults else None

    def _strike(self, vendor: str, slug: str | None, kinds: Collection[str], issued: int | None) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.kind not in kinds or fault.vendor not in (None, vendor) or fault.account not in (None, slug):
                    continue
                if (issued is not None and issued > fault.since) or self._struck[fault.since] == fault.most:
                    continue
                key = (fault.since, vendor, slug)
                self._seen[key] += 1
                dice = f"{self._seed}:{fault.kind}:{vendor}:{slug}:{self._seen[key]}"
                if fault.share >= 1 or Dice(dice).chance(fault.share):
                    self._struck[fault.since] += 1
                    self.made[fault.kind] += 1
                    return fault
        return None
