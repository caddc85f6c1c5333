"""Which language model words insights, and within which limits. Off unless a key is set."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from analytics_assets.settings import SettingError, secret_address

#: Dagster gives a sensor a minute.
_MOST_SECONDS = 45


@dataclass(frozen=True)
class Narrator:
    """The model and its limits.

    Attributes:
        model: provider and model such as openai:gpt-5-mini; of a server at ``url`` the name that it gives its model.
        url: base address of a server that speaks OpenAI's form (``.../v1``).
        price: US dollars a million tokens of what is sent and of what is answered; None: as the library knows it.
        run_calls, run_seconds: of one evaluation of the sensor.
        day_tokens, day_dollars: of a UTC day, over all organisations.
    """

    model: str
    key: str = field(repr=False)
    url: str | None = field(repr=False)
    price: tuple[Decimal, Decimal] | None
    run_calls: int
    run_seconds: int
    day_tokens: int
    day_dollars: Decimal

    @staticmethod
    def load() -> Narrator | None:
        """Reads the environment; None where no key is set. Raises SettingError, which never says key or address."""
        key = _given("ANALYTICS_NARRATIVE_KEY")
        if not key:
            return None
        if not key.isascii() or not key.isprintable():
            raise SettingError("ANALYTICS_NARRATIVE_KEY: expected printable ASCII characters, as keys of providers are")
        url = secret_address("ANALYTICS_NARRATIVE_URL")
        model = _given("ANALYTICS_NARRATIVE_MODEL")
        if not re.fullmatch(r"[\w./:@+-]{1,200}", model) or (url is None and not re.fullmatch(r"[\w/-]+:.+", model)):
            wanted = "the server's name of its model" if url else "provider:model such as openai:gpt-5-mini"
            raise SettingError(f"ANALYTICS_NARRATIVE_MODEL={model}: expected {wanted}, since ANALYTICS_NARRATIVE_KEY is set")
        return Narrator(
            model=model,
            key=key,
            url=url,
            price=_price(),
            run_calls=_number("ANALYTICS_NARRATIVE_RUN_CALLS", 10, 1000),
            run_seconds=_number("ANALYTICS_NARRATIVE_RUN_SECONDS", 20, _MOST_SECONDS),
            day_tokens=_number("ANALYTICS_NARRATIVE_DAY_TOKENS", 200_000, 1_000_000_000),
            day_dollars=_dollars("ANALYTICS_NARRATIVE_DAY_DOLLARS", _given("ANALYTICS_NARRATIVE_DAY_DOLLARS") or "1"),
        )


def _given(variable: str) -> str:
    return os.environ.get(variable, "").strip()


def _number(variable: str, default: int, most: int) -> int:
    text = _given(variable) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise SettingError(f"{variable}={text}: expected a number from 1 to {most}")
    return int(text)


def _dollars(variable: str, text: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value < 100_000:
        raise SettingError(f"{variable}={text}: expected US dollars such as 0.50")
    return value


def _price() -> tuple[Decimal, Decimal] | None:
    variable = "ANALYTICS_NARRATIVE_PRICE"
    text = _given(variable)
    if not text:
        return None
    sent, slash, answered = text.partition("/")
    if not slash:
        raise SettingError(f"{variable}={text}: expected US dollars a million tokens sent and answered, such as 0.25/2 or 0/0")
    return _dollars(variable, sent), _dollars(variable, answered)
