"""The connectors by type of source, and what a source of each type has to bring along."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from analytics_assets.sources.connector import JSON, Connector
from analytics_assets.sources.failures import WrongConfiguration
from analytics_assets.sources.google_analytics import GoogleAnalytics
from analytics_assets.sources.meta_ads import MetaAds
from analytics_assets.sources.redactor import SHORTEST, Redactor, looks_secret
from analytics_assets.sources.shopify import Shopify
from analytics_assets.sources.vendors import Vendors
from analytics_assets.sources.woocommerce import WooCommerce

CONNECTORS: dict[str, type[Connector]] = {
    connector.source_type: connector for connector in (GoogleAnalytics, MetaAds, WooCommerce, Shopify)
}
#: What may stand beside a set of secrets that is complete without it.
OPTIONAL_SECRETS: dict[str, tuple[str, ...]] = {
    "google_analytics": ("client_id", "client_secret", "expires_at"),
    "meta_ads": ("app_secret",),
    "woocommerce": (),
    "shopify": ("refresh_token", "expires_at", "refresh_expires_at"),
}
_INSTANTS = ("expires_at", "refresh_expires_at")


def connector_of(source_type: str) -> type[Connector]:
    """Raises WrongConfiguration."""
    connector = CONNECTORS.get(source_type)
    if connector is None:
        raise WrongConfiguration(f"type {source_type!r} is not known; there are: {', '.join(CONNECTORS)}")
    return connector


def secret_names(source_type: str) -> list[str]:
    """Every secret that a source of this type may have. Raises WrongConfiguration."""
    required = [name for choice in connector_of(source_type).secret_choices for name in choice]
    return list(dict.fromkeys([*required, *OPTIONAL_SECRETS[source_type]]))


def check_secret_name(source_type: str, name: str) -> None:
    """Raises WrongConfiguration for a name that no secret of this type has."""
    known = secret_names(source_type)
    if name not in known:
        # (Shown only where it looks like a name: value and name may have been swapped.)
        shown = f" {name!r}" if re.fullmatch("[a-z_]{1,40}", name) else ""
        raise WrongConfiguration(f"{source_type} has no secret of the name given{shown}; it has {', '.join(known)}")


def choices_of(source_type: str) -> str:
    """The sets of secrets of which a source must have one, in words."""
    return ", or ".join(" and ".join(choice) for choice in connector_of(source_type).secret_choices)


def check_secrets(source_type: str, secrets: Mapping[str, Any]) -> JSON:
    """The secrets in their normal form: without white space around them, a key file as its text.

    Raises WrongConfiguration, which names the secret and what is expected, and never shows it.
    """
    checked = dict[str, Any]()
    for name, value in secrets.items():
        check_secret_name(source_type, name)
        if name == "service_account" and isinstance(value, Mapping):
            value = json.dumps(value)
        if name in _INSTANTS and isinstance(value, int | float) and not isinstance(value, bool):
            checked[name] = value
            continue
        if not isinstance(value, str) or len(value.strip()) < SHORTEST:
            raise WrongConfiguration(
                f"{name}: expected a text of {SHORTEST} characters or more; it is empty, too short or no text"
            )
        checked[name] = value.strip()
        if name == "service_account":
            _check_key_file(checked[name])
        elif not checked[name].isascii() or not checked[name].isprintable() or " " in checked[name]:
            raise WrongConfiguration(f"{name}: has blanks, line breaks or letters in it that no such secret has; copy it anew")
    if not any(set(choice) <= checked.keys() for choice in connector_of(source_type).secret_choices):
        given = f"only {', '.join(checked)} given" if checked else "none given"
        raise WrongConfiguration(f"a source of type {source_type} needs {choices_of(source_type)}; {given}")
    return checked


def _check_key_file(text: str) -> None:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not {"client_email", "private_key"} <= document.keys():
        raise WrongConfiguration(
            "service_account: expected the JSON text of a service account's key file, with client_email and private_key"
        ) from None


def check(source_type: str, settings: Mapping[str, Any], secrets: Mapping[str, Any], vendors: Vendors) -> tuple[JSON, JSON]:
    """Settings and secrets in their normal form. Raises WrongConfiguration; no message shows a secret."""
    checked = check_secrets(source_type, secrets)
    redactor = Redactor(checked)
    for name, value in settings.items():
        # It would stand in the clear part of the row, in lists and in messages.
        text = f"{name} {value}"
        is_held = name in secret_names(source_type) or redactor.text(text) != text
        if is_held or looks_secret(text):
            # (Its name is shown only where it looks like one: it may be the secret.)
            shown = f"setting {redactor.text(name)!r}" if re.fullmatch("[a-z_]{1,40}", name) else "a setting"
            problem = "holds a secret" if is_held else "has the name or the form of a secret"
            raise WrongConfiguration(f"{shown} {problem}; secrets are given apart from settings")
    return connector_of(source_type).check_settings(settings, vendors), checked
