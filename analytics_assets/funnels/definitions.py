"""What a funnel's definition may say, on the command line and in a file. Pure: nothing is stored here.

A step, on the command line::

    [NAME: ] [EVENT] [type=TYPE] [page=PATTERN] [where PROPERTY=VALUE [and PROPERTY=VALUE]...]

All filters of a step must hold, and it has at least one of event, type and page. In a pattern ``*`` stands for any
characters; it is held against the path of the page's address, and against the whole. Of the values ``12.5``, ``true``,
``false`` and ``null`` are what they are in JSON; ``"12.5"`` in quotes is text, and so is all else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

EVENT_TYPES = ("track", "page", "screen", "identify", "group", "alias")
UNITS = ("session", "user")
#: Where nobody says how long: what people do in one visit, and what they come back for.
DEFAULT_WINDOWS = {"session": timedelta(hours=24), "user": timedelta(days=7)}
LONGEST_WINDOW = timedelta(days=90)
MOST_STEPS = 20
_LONGEST_NAME = 100
_LONGEST_PAGE = 2000
_FIELDS = ("name", "event", "type", "page", "properties")
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WINDOW = re.compile(r"(\d{1,9})\s*([smhdw])")
_FILTER = re.compile(r"(?:^|\s)(type|page)=(\S*)\s*$")
_PARTS = ("name", "unit", "window", "steps")

Step = dict[str, Any]


class FunnelError(ValueError):
    """A definition that is not allowed; the message names the field and its value, and says what is expected."""


@dataclass(frozen=True)
class Funnel:
    """A funnel's definition. steps: as the column ``funnels.steps`` has them."""

    name: str
    unit: str
    window: timedelta
    steps: tuple[Step, ...]


def parse_window(text: str) -> timedelta:
    """The window of ``90s``, ``30m``, ``24h``, ``7d``, ``2w``. Raises FunnelError."""
    found = _WINDOW.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if found is None:
        raise FunnelError(f"window {text!r}: expected a number and s, m, h, d or w, such as 24h or 7d")
    window = timedelta(**{_SPANS[found[2]]: min(int(found[1]), 10**8)})
    if not timedelta(seconds=1) <= window <= LONGEST_WINDOW:
        raise FunnelError(f"window {text!r}: expected 1 second to {LONGEST_WINDOW.days} days")
    return window


def window_text(window: timedelta) -> str:
    """A window as short as parse_window reads it."""
    seconds = int(window.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and (unit != "d" or seconds > size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: text)
    except ValueError:
        return text


def _properties(text: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in re.split(r"\s+and(?:\s+|$)", text.strip(), flags=re.IGNORECASE):
        key, sign, value = part.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise FunnelError(f"{where}: after `where` expected PROPERTY=VALUE, not {part!r}")
        if key.strip() in found:
            raise FunnelError(f"{where}: property {key.strip()!r} is asked for twice; all filters must hold")
        found[key.strip()] = _value(value.strip())
    return found


def parse_step(text: str, number: int = 1) -> Step:
    """A step of the command line's form. Raises FunnelError, which says which step."""
    where = f"step {number} {text!r}"
    rest = text.strip()
    step: Step = {}
    name, colon, after = f"{rest} ".partition(": ")
    if colon:
        step["name"], rest = name.strip(), after.strip()
        if not step["name"]:
            raise FunnelError(f"{where}: no name before the colon")
    # The filter may be all there is: "where" then begins the text.
    before, *conditions = re.split(r"(?:^|\s+)where\s+", rest, maxsplit=1, flags=re.IGNORECASE)
    rest = before
    while found := _FILTER.search(rest):
        if found[1] in step:
            raise FunnelError(f"{where}: {found[1]}= stands there twice")
        step[found[1]] = found[2]
        rest = rest[: found.start()]
    if rest.strip():
        step["event"] = rest.strip()
    if conditions:
        step["properties"] = _properties(conditions[0], where)
    return check_step(step, number, where)


def check_step(step: Any, number: int, where: str | None = None) -> Step:
    """A step with its fields in their order, its name filled in from its first filter. Raises FunnelError."""
    where = where or f"step {number}"
    if not isinstance(step, Mapping):
        raise FunnelError(f"{where}: expected an object with {', '.join(_FIELDS)}, or text, not {json.dumps(step)}")
    unknown = sorted(set(step) - set(_FIELDS))
    if unknown:
        raise FunnelError(f"{where}: no field {unknown[0]!r}; there are {', '.join(_FIELDS)}")
    given = {key: value for key, value in step.items() if value is not None}
    for key, longest in (("name", _LONGEST_NAME), ("event", _LONGEST_NAME), ("type", 10), ("page", _LONGEST_PAGE)):
        value = given.get(key)
        if value is not None and not (isinstance(value, str) and value.strip() and len(value) <= longest and _is_clean(value)):
            raise FunnelError(f"{where}: {key} {value!r}: expected text of 1 to {longest} characters")
    if given.get("type", "track") not in EVENT_TYPES:
        raise FunnelError(f"{where}: type {given['type']!r}: expected one of {', '.join(EVENT_TYPES)}")
    properties = given.get("properties", {})
    if not isinstance(properties, Mapping) or not _is_clean(json.dumps(properties, ensure_ascii=False)):
        raise FunnelError(f'{where}: properties: expected an object such as {{"category": "shoes"}}, without NUL characters')
    if not any(key in given for key in ("event", "type", "page")):
        raise FunnelError(f"{where}: nothing to look for; expected an event's name, type=... or page=...")
    named = given.get("name") or given.get("event") or given.get("page") or given["type"]
    made: Step = {"name": named.strip()[:_LONGEST_NAME]}
    made |= {key: given[key].strip() for key in ("event", "type", "page") if key in given}
    if properties:
        made["properties"] = dict(properties)
    return made


def _is_clean(text: str) -> bool:
    return "\x00" not in text and "\\u0000" not in text


def make_funnel(name: Any, unit: Any, window: Any, steps: Any) -> Funnel:
    """A definition whose every part is sound. Steps are texts or objects; window None is the unit's default.

    Raises FunnelError.
    """
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not _is_clean(name):
        raise FunnelError(f"name {name!r}: expected text of 1 to {_LONGEST_NAME} characters")
    if unit not in UNITS:
        raise FunnelError(f"unit {unit!r}: expected session (one visit) or user (the known user over all visits)")
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not 1 <= len(steps) <= MOST_STEPS:
        what = f"{len(steps)} steps" if isinstance(steps, Sequence) and not isinstance(steps, str) else "no list of steps"
        raise FunnelError(f"{what}: expected 1 to {MOST_STEPS}")
    made = tuple(
        parse_step(step, number) if isinstance(step, str) else check_step(step, number) for number, step in enumerate(steps, 1)
    )
    return Funnel(name.strip(), unit, DEFAULT_WINDOWS[unit] if window is None else parse_window(window), made)


def read_funnel(file: Path) -> Funnel:
    """The definition in a JSON file: {"name", "steps", "unit", "window"}. Raises FunnelError, which names the file."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise FunnelError(f"{file} is no JSON in UTF-8: {error}") from None
    if not isinstance(content, dict) or set(content) - set(_PARTS):
        raise FunnelError(f"{file}: expected an object with {', '.join(_PARTS)}")
    try:
        return make_funnel(content.get("name"), content.get("unit", "session"), content.get("window"), content.get("steps"))
    except FunnelError as error:
        raise FunnelError(f"{file}: {error}") from None


def step_text(step: Mapping[str, Any]) -> str:
    """A step for eyes, as the command line takes it."""
    parts = [str(step["event"])] if "event" in step else []
    parts += [f"{key}={step[key]}" for key in ("type", "page") if key in step]
    if step.get("properties"):
        parts.append("where " + " and ".join(f"{key}={_shown(value)}" for key, value in step["properties"].items()))
    what = " ".join(parts)
    return what if step.get("name") == what else f"{step.get('name')}: {what}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and _value(value) == value else json.dumps(value, ensure_ascii=False)
