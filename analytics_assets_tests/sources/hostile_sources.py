"""Sources of the hostile vendor: of all types, with each kind of credentials, all of them made up."""

import json
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from analytics_assets_tests.sources.hostile import Hostile, made_up

#: What URLs, JSON or base64 write otherwise.
MARKS = "/+=_-.~"


def key_file() -> dict[str, str]:
    """A service account that signs."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "type": "service_account",
        "client_email": "reader@acme.example",
        "private_key_id": made_up("key id"),
        "private_key": key.private_bytes(*form).decode(),
    }


KEY_FILE = key_file()
REFRESH = "1//" + made_up("google refresh", MARKS)
#: Type, settings and secrets by name. (A shop that is read from scratch over 20 days is read in bulk.)
SOURCES: dict[str, tuple[str, dict[str, Any], dict[str, str]]] = {
    "key file": ("google_analytics", {"property_id": "1"}, {"service_account": json.dumps(KEY_FILE)}),
    "google refresh": ("google_analytics", {"property_id": "2"}, {"refresh_token": REFRESH}),
    "google token": ("google_analytics", {"property_id": "3"}, {"access_token": "ya29." + made_up("google token", MARKS)}),
    "ads": ("meta_ads", {"account_id": "11"}, {"access_token": "EAA" + made_up("meta", MARKS), "app_secret": made_up("app")}),
    "ads 2": ("meta_ads", {"account_id": "12"}, {"access_token": "EAA" + made_up("meta 2")}),
    "store": (
        "woocommerce",
        {"store_url": "first"},
        {"consumer_key": "ck_" + made_up("k"), "consumer_secret": made_up("s", MARKS)},
    ),
    "store 2": (
        "woocommerce",
        {"store_url": "second", "query_auth": True},
        {"consumer_key": "ck_" + made_up("k2", MARKS), "consumer_secret": "cs_" + made_up("s2")},
    ),
    "shop": ("shopify", {"shop": "one.myshopify.com"}, {"access_token": "shpat_" + made_up("shopify", MARKS)}),
    "shop refresh": (
        "shopify",
        {"shop": "two.myshopify.com"},
        {
            "access_token": "shpat_" + made_up("shopify 2"),
            "refresh_token": "shprt_" + made_up("shopify 2 refresh"),
            "expires_at": "2026-01-01T00:00:00Z",
        },
    ),
    "shop bulk": ("shopify", {"shop": "three.myshopify.com"}, {"client_id": made_up("id"), "client_secret": made_up("secret")}),
}
ACCOUNTS = {"1", "2", "3", "11", "12", "first", "second", "one", "two", "three"}


def given() -> set[str]:
    """Every secret text that a source or the deployment has."""
    texts = {made_up(name) for name in ("google client", "meta app", "shopify client")} | {KEY_FILE["private_key_id"]}
    texts |= {line for line in KEY_FILE["private_key"].splitlines() if "---" not in line}
    for _, _, secrets in SOURCES.values():
        texts |= {value for name, value in secrets.items() if name not in ("service_account", "expires_at")}
    return texts


def settings_of(name: str, hostile: Hostile) -> dict[str, Any]:
    settings = dict(SOURCES[name][1])
    if "store_url" in settings:
        settings["store_url"] = f"{hostile.base}/stores/{settings['store_url']}"
    return settings
