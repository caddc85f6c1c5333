"""Where the vendors are, and the deployment's own credentials with them. From the environment, never from a tenant.

A tenant that could name the base URL of a vendor would have the vendor's token of another tenant sent there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from analytics_assets.settings import SettingError


def _url(variable: str, default: str) -> str:
    value = os.environ.get(variable, "").strip() or default
    if not value.startswith(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")):
        raise SettingError(f"{variable}: expected an https:// address (plain http only on the loopback address)")
    return value.rstrip("/")


def _text(variable: str, default: str = "") -> str:
    return os.environ.get(variable, "").strip() or default


@dataclass(frozen=True)
class Vendors:
    """Base addresses, API versions and the deployment's app credentials.

    Attributes:
        shopify_url: a pattern in which {shop} stands for the shop's domain (x.myshopify.com).
        store_hosts: host:port of WooCommerce stores that may lie in a private network or speak plain http (the sandbox).
        shopify_download_hosts: hosts from which results of bulk operations may be read.
    """

    google_url: str = "https://analyticsdata.googleapis.com"
    google_token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105
    google_client_id: str = ""
    google_client_secret: str = field(default="", repr=False)
    meta_url: str = "https://graph.facebook.com"
    meta_version: str = "v26.0"
    meta_app_secret: str = field(default="", repr=False)
    shopify_url: str = "https://{shop}"
    shopify_version: str = "2026-10"
    shopify_client_id: str = ""
    shopify_client_secret: str = field(default="", repr=False)
    shopify_download_hosts: tuple[str, ...] = ("storage.googleapis.com",)
    store_hosts: tuple[str, ...] = ()

    @staticmethod
    def load() -> Vendors:
        """Reads the ANALYTICS_ variables of the environment. Raises SettingError."""
        base = Vendors()
        return Vendors(
            google_url=_url("ANALYTICS_GOOGLE_URL", base.google_url),
            google_token_url=_url("ANALYTICS_GOOGLE_TOKEN_URL", base.google_token_url),
            google_client_id=_text("ANALYTICS_GOOGLE_CLIENT_ID"),
            google_client_secret=_text("ANALYTICS_GOOGLE_CLIENT_SECRET"),
            meta_url=_url("ANALYTICS_META_URL", base.meta_url),
            meta_version=_text("ANALYTICS_META_VERSION", base.meta_version),
            meta_app_secret=_text("ANALYTICS_META_APP_SECRET"),
            shopify_url=_url("ANALYTICS_SHOPIFY_URL", base.shopify_url),
            shopify_version=_text("ANALYTICS_SHOPIFY_VERSION", base.shopify_version),
            shopify_client_id=_text("ANALYTICS_SHOPIFY_CLIENT_ID"),
            shopify_client_secret=_text("ANALYTICS_SHOPIFY_CLIENT_SECRET"),
            shopify_download_hosts=_list("ANALYTICS_SHOPIFY_DOWNLOAD_HOSTS", base.shopify_download_hosts),
            store_hosts=_list("ANALYTICS_STORE_HOSTS", ()),
        )


def _list(variable: str, default: tuple[str, ...]) -> tuple[str, ...]:
    text = os.environ.get(variable, "").strip()
    return tuple(part.strip().lower() for part in text.split(",") if part.strip()) or default
