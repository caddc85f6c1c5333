"""What a user agent says of a device, by ua-parser's rules (which are uap-core's); device_type by rules of our own."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from ua_parser import parse

_BOT = re.compile(
    r"bot\b|bot[/_-]|crawl|spider|slurp|headless|lighthouse|preview|monitor|pingdom|facebookexternalhit", re.IGNORECASE
)
_TABLET = re.compile(r"ipad|tablet|playbook|kindle|silk(?!.*mobile)", re.IGNORECASE)
_MOBILE = re.compile(r"iphone|ipod|mobile|windows phone|blackberry|opera mini|\bios\b|cfnetwork", re.IGNORECASE)
_SCREEN = re.compile(
    r"smart-?tv|apple ?tv|android tv|googletv|crkey|roku|tizen.*tv|web0s|playstation|xbox|nintendo|bravia", re.IGNORECASE
)
_DESKTOPS = frozenset(
    {"Windows", "Mac OS X", "Linux", "Ubuntu", "Fedora", "Debian", "Red Hat", "SUSE", "Chrome OS", "FreeBSD", "OpenBSD"}
)
# Of a longer one the rules need not be asked.
_LONGEST = 1000


class Agent(NamedTuple):
    """device_type: desktop, mobile, tablet, bot or other; browser and os: families, as ua-parser names them."""

    device_type: str | None
    browser: str | None
    os: str | None


UNKNOWN = Agent(None, None, None)


@lru_cache(maxsize=20_000)
def describe(user_agent: str) -> Agent:
    """The agent behind the text of a User-Agent header."""
    user_agent = user_agent[:_LONGEST]
    found = parse(user_agent)
    browser = found.user_agent.family[:50] if found.user_agent else None
    os = found.os.family[:50] if found.os else None
    is_spider = found.device is not None and found.device.family == "Spider"
    return Agent("bot" if is_spider else _device_type(user_agent, os), browser, os)


def _device_type(user_agent: str, os: str | None) -> str:
    if _BOT.search(user_agent):
        return "bot"
    if _SCREEN.search(user_agent):
        return "other"
    # Android says Mobile on phones, and leaves it out on tablets.
    if _TABLET.search(user_agent) or (os == "Android" and "mobile" not in user_agent.lower()):
        return "tablet"
    if _MOBILE.search(user_agent):
        return "mobile"
    return "desktop" if os in _DESKTOPS else "other"
