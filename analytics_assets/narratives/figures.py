"""Figures in a text: each is found, and held against those that the data has, within the rounding in which it is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from analytics_assets.narratives.facts import Facts

_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SCALES = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6, "bn": 1e9, "billion": 1e9}
_NUMBER = r"(?P<sign>[-−–+])?(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<decimals>\.\d+)?(?:\s?(?P<scale>k|K|m|M|bn|thousand|million|billion)\b)?"
_MONTH = "|".join(f"{name}|{name[:3]}" for name in _MONTHS)
_SIGNS = {"€": "EUR", "$": "USD", "£": "GBP", "¥": "JPY", "euro": "EUR", "dollar": "USD", "pound": "GBP", "yen": "JPY"}
_ORDINAL = r"(?:st|nd|rd|th)?"

_ISO_DATE = re.compile(r"\b(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})\b")
_DATE = re.compile(rf"\b(?P<day>\d{{1,2}}){_ORDINAL}(?: of)? (?P<month>{_MONTH})\b\.?(?:,? (?P<year>\d{{4}})\b)?")
_DATE_US = re.compile(rf"\b(?P<month>{_MONTH})\.? (?P<day>\d{{1,2}}){_ORDINAL}\b(?!:)(?:,? (?P<year>\d{{4}})\b)?")
_TIME = re.compile(r"\b(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::00)?(?:\s?(?P<half>[ap])\.?m\b\.?)?", re.IGNORECASE)
_TIME_HALF = re.compile(r"\b(?P<hour>\d{1,2})\s?(?P<half>[ap])\.?m\b\.?", re.IGNORECASE)
_WEEKDAY = re.compile(r"\b(?:" + "|".join(f"{name}s?|{name[:3]}" for name in _DAYS) + r")\b")
_BARE_MONTH = re.compile(rf"\b(?:{_MONTH})\b")
# What only somebody who knows today's date could say, and parts of the day that no figure tells.
_RELATIVE = re.compile(
    r"\b(?:yesterday|today|tonight|tomorrow|overnight|weekends?|noon|midnight|q[1-4]|"
    r"(?:last|next|this|past|previous) (?:hour|day|night|week|month|quarter|year|spring|summer|autumn|fall|winter)s?)\b",
    re.IGNORECASE,
)
_TIMES_OVER = re.compile(r"\d[\d,.]*\s?-?(?:x\b|times\b|fold\b)|percentage points?|\d\s?/\s?\d", re.IGNORECASE)
_AMOUNT = re.compile(
    rf"(?P<before>[€$£¥]|\b[A-Z]{{3}}\b)\s?{_NUMBER}"
    rf"|{_NUMBER.replace('P<', 'P<after_')}\s?(?P<after>[€$£¥]|[A-Z]{{3}}\b|euros?\b|dollars?\b|pounds?\b|yen\b)"
)
_PERCENT = re.compile(rf"{_NUMBER}[\s-]?(?:%|per ?cent\b)", re.IGNORECASE)
_DURATION = re.compile(rf"{_NUMBER}[\s-](?P<unit>minute|hour|day|week|month|year)s?\b")
_PLAIN = re.compile(_NUMBER)
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen",
    "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_UNITS = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_WORD = "|".join(_UNITS)
_NUMBER_WORD = re.compile(rf"\b({_WORD})(?:[\s-]({_WORD}))?(?:[\s-](minute|hour|day|week|month|year)s?)?\b", re.IGNORECASE)
_PORTION = re.compile(
    r"\b(?:hundreds?|thousands|millions|billions|(?<!\d )(?:thousand|million|billion)|dozens?|half|halves|halved|halving|thirds?|quarters?|fifths?|tenths?|doubl(?:e|ed|es|ing)|"
    r"twice|thrice|tripl(?:e|ed|es|ing)|trebled?|quadrupled?|\w+fold|couple|pair|decades?|fortnight)\b",
    re.IGNORECASE,
)


def _is_near(found: re.Match[str], allowed: Iterable[float], prefix: str = "") -> bool:
    """Whether one of the figures is what is written, rounded as it is written; whole tens, hundreds, ... to one in a hundred."""
    digits = found[f"{prefix}digits"].replace(",", "")
    decimals, scale = found[f"{prefix}decimals"] or "", _SCALES.get((found[f"{prefix}scale"] or "").lower(), 1.0)
    value, sign = float(digits + decimals) * scale, found[f"{prefix}sign"]
    step = scale * 10.0 ** -max(len(decimals) - 1, 0)
    zeros = 10.0 ** (len(digits) - len(digits.rstrip("0"))) if not decimals and value else 1.0
    for figure in allowed:
        if (sign == "+" and figure < 0) or (sign in ("-", "−") and figure > 0):
            continue
        off = abs(value - abs(figure))
        is_close = scale == 1 or off <= 0.03 * abs(figure)
        if (off <= step / 2 * 1.0001 and is_close) or (off <= step * zeros / 2 and off <= 0.01 * abs(figure)):
            return True
    return False


def _is_date(found: re.Match[str], moments: Iterable[datetime]) -> bool:
    month = found["month"]
    number = int(month) if month.isdecimal() else 1 + [name[:3] for name in _MONTHS].index(month[:3])
    year = found["year"]
    return any((at.month, at.day) == (number, int(found["day"])) and year in (None, str(at.year)) for at in moments)


def _is_time(found: re.Match[str], moments: Iterable[datetime]) -> bool:
    hour, minute = int(found["hour"]), int(found.groupdict().get("minute") or 0)
    if half := found["half"]:
        hour = hour % 12 + (12 if half.lower() == "p" else 0)
    return any((at.hour, at.minute) == (hour, minute) for at in moments)


def _is_amount(found: re.Match[str], facts: Facts) -> bool:
    word = found["before"] or found["after"]
    code = _SIGNS.get(word.lower().removesuffix("s") if len(word) > 1 else word, word)
    return code == facts.currency and _is_near(found, facts.amounts, "" if found["before"] else "after_")


def _word_is_known(found: re.Match[str], facts: Facts) -> bool:
    value = _UNITS[found[1].lower()] + (_UNITS[found[2].lower()] if found[2] else 0)
    unit = (found[3] or "").lower()
    return float(value) in (facts.durations.get(unit, set()) if unit else facts.numbers)


def unknown_figure(text: str, facts: Facts) -> tuple[str | None, int]:
    """(what kind of figure is not in the data, None if all are; how many there are besides times). The text holds ASCII digits only."""
    count = 0
    days = {name[:3] for name in (_DAYS[at.weekday()] for at in facts.moments)}
    months = {_MONTHS[at.month - 1][:3] for at in facts.moments}
    for pattern in (_RELATIVE, _TIMES_OVER, _PORTION):
        if pattern.search(text):
            return {_RELATIVE: "date", _TIMES_OVER: "figure", _PORTION: "number word"}[pattern], count
    # The most special first: what has been judged is taken out of the text.
    judged: tuple[tuple[re.Pattern[str], str, Callable[[re.Match[str]], bool]], ...] = (
        (_ISO_DATE, "date", lambda found: _is_date(found, facts.moments)),
        (_DATE, "date", lambda found: _is_date(found, facts.moments)),
        (_DATE_US, "date", lambda found: _is_date(found, facts.moments)),
        (_TIME, "time", lambda found: _is_time(found, facts.moments)),
        (_TIME_HALF, "time", lambda found: _is_time(found, facts.moments)),
        (_WEEKDAY, "date", lambda found: found[0][:3] in days),
        (_BARE_MONTH, "date", lambda found: found[0][:3] in months),
        (_AMOUNT, "amount", lambda found: _is_amount(found, facts)),
        (_PERCENT, "percentage", lambda found: _is_near(found, facts.percents)),
        (_DURATION, "duration", lambda found: _is_near(found, facts.durations.get(found["unit"], ()))),
        (_NUMBER_WORD, "number word", lambda found: _word_is_known(found, facts)),
        (_PLAIN, "figure", lambda found: _is_near(found, facts.numbers)),
    )
    for pattern, kind, is_known in judged:
        for found in pattern.finditer(text):
            if not is_known(found):
                return kind, count
            count += kind in ("amount", "percentage", "figure")
        text = pattern.sub(" ; ", text)
    return ("figure" if any(character.isdigit() for character in text) else None), count
