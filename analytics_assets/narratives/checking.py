"""Whether a text says what the data says, and nothing else. In doubt it is refused: the template's text is always there."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from analytics_assets.narratives.facts import Facts
from analytics_assets.narratives.figures import unknown_figure

MOST_CHARACTERS = 600
_PUNCTUATION = frozenset(" .,;:!?'\"()%+-–—−/€$£¥’‘“”")
# A host or file name; nobody follows a link that is not there.
_LINK = re.compile(r"[\w-]\.[a-z]{2,}|://|\bwww\b|\bhttps?\b|\bmailto\b", re.IGNORECASE)
_UP = re.compile(
    r"\b(?:ris(?:e[ns]?|ing)|rose|increas\w*|gr(?:ow\w*|ew)|(?<!follow )(?<!look )up|upwards?|upturn|higher|highest|above|surg\w*|jump\w*|climb\w*|gain\w*|"
    r"spik\w*|soar\w*|exceed\w*|(?<!no )(?<!out )more|outperform\w*|improv\w*|boom\w*|rally|rallied|rocket\w*|better|strong\w*)\b",
    re.IGNORECASE,
)
_DOWN = re.compile(
    r"\b(?:fall(?:s|ing|en)?|fell|drop\w*|declin\w*|decreas\w*|down|downwards?|downturn|lower\w*|lowest|below|fewer|less|slump\w*|dip(?:s|ped)?|"
    r"loss(?:es)?|los(?:t|e|es|ing)|shr[aiu]nk\w*|plung\w*|plummet\w*|s[aiu]nk\w*|reduc\w*|shortfall|underperform\w*|worse\w*|weak\w*|"
    r"collaps\w*|crash\w*|slid|slid(?:e|es|ing)|tumbl\w*)\b",
    re.IGNORECASE,
)
_NEGATION = re.compile(
    r"\b(?:not|never|nor|neither|without|hardly|barely|cannot|no longer|unchanged|stable)\b|n['’]t\b", re.IGNORECASE
)
# What people call metrics besides their names in the catalogue.
_CALLED = {
    "revenue": {"total_sales", "gross_sales", "net_sales", "purchase_revenue", "total_revenue", "shipping_revenue"},
    "turnover": {"total_sales", "gross_sales", "net_sales", "purchase_revenue", "total_revenue"},
    "sale": {"total_sales", "gross_sales", "net_sales"},
    "income": {"total_sales", "gross_sales", "net_sales", "total_revenue"},
    "visit": {"sessions"},
    "visitor": {"sessions", "users_active", "users_new", "users_total"},
    "traffic": {"sessions", "page_views"},
    "user": {"users_active", "users_new", "users_total"},
    "conversion": {"purchases", "ad_purchases", "conversion_rate", "key_events"},
    "click": {"clicks_all", "link_clicks", "outbound_clicks"},
    "refund": {"refunds_amount", "refunds_count", "refund_rate"},
    "spend": {"ad_spend"},
    "spending": {"ad_spend"},
    "cancellation": {"cancelled_orders"},
}  # fmt: skip
_CALLED |= {
    word: set()
    for word in ("profit", "margin", "subscriber", "lead", "churn", "download", "signup", "retention", "follower", "rating")
}
_BRANDS = (
    "google", "meta", "facebook", "instagram", "whatsapp", "tiktok", "youtube", "linkedin", "pinterest", "snapchat", "twitter", "reddit",
    "bing", "microsoft", "amazon", "ebay", "etsy", "shopify", "woocommerce", "klaviyo", "mailchimp", "paypal", "stripe", "klarna", "email",
    "newsletter", "sms", "affiliate", "affiliates", "organic", "seo",
)  # fmt: skip


def clean(text: str) -> str:
    """On one line, with plain spaces."""
    return " ".join(re.sub(r"[\u00a0\u202f\u2009]", " ", text).split())


def problem_of(text: str, facts: Facts, metrics: Iterable[str]) -> str | None:
    """Why a text (clean) is refused, in a word or two; None if it may stand. metrics: all names of the catalogue."""
    if len(text) > MOST_CHARACTERS:
        return "length"
    if any(not _is_plain(character) for character in text):
        return "characters"
    if _LINK.search(text):
        return "link"
    if any(name not in facts.names for name in re.findall(r"\bN\d+\b", text)):
        return "name"
    text = re.sub(r"\bN\d+\b", "it", text)
    said = facts.words
    if problem := _wrong_words(text.lower(), facts, said, metrics):
        return problem
    problem, figures = unknown_figure(text, facts)
    if problem:
        return problem
    known = set(re.findall(r"\w+", said))
    if any(word.lower() not in known for word in _capitals(text)):
        return "name"
    if _NEGATION.search(text):
        return "negation"
    wrong = {"up": (_DOWN,), "down": (_UP,), None: (_UP, _DOWN)}[facts.direction]
    if any(pattern.search(text) for pattern in wrong):
        return "direction"
    if not figures:
        # An excuse, a greeting: not a word of the data.
        return "empty"
    return None if re.search(r"[.!?][\"'”’)]?$", text) else "unfinished"


def _is_plain(character: str) -> bool:
    if character.isascii():
        return character.isalnum() or character in _PUNCTUATION
    return character in _PUNCTUATION or (character.isalpha() and unicodedata.name(character, "").startswith("LATIN "))


def _capitals(text: str) -> list[str]:
    """Words with a capital that do not begin a sentence."""
    return re.findall(r"(?<![.!?] )(?<![.!?][\"'”’)] )(?<!^)(?<![\w'’])[A-Z][\w]*", text)


def _wrong_words(text: str, facts: Facts, said: str, metrics: Iterable[str]) -> str | None:
    """A metric or channel that was not told."""
    known = _singular(said)
    text = _singular(text)
    for brand in _BRANDS:
        if re.search(rf"\b{brand}\b", text) and not re.search(rf"\b{brand}\b", known):
            return "channel"
    for metric in metrics:
        phrase = _singular(metric.replace("_", " "))
        if re.search(rf"\b{phrase}\b", text) and not re.search(rf"\b{phrase}\b", known):
            return "metric"
    for word, called in _CALLED.items():
        if re.search(rf"\b{word}\b", text) and not called & facts.metrics and not re.search(rf"\b{word}\b", known):
            return "metric"
    return None


def _singular(text: str) -> str:
    return re.sub(r"(?<=[a-z]{2})s\b", "", text)
