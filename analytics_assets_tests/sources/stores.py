"""Sources for tests: their secrets, and stores of the organisation acme."""

import base64
from typing import Any
from uuid import UUID

from analytics_assets.sources import registry
from analytics_assets.sources.connector import Account
from analytics_assets.sources.secrets import SecretBox
from analytics_assets_tests.woocommerce import Connection

OLD, NEW, OTHER = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in (1, 2, 3))
KEY, SECRET = "ck_" + "0a1b2c3d" * 5, "cs_" + "9f8e7d6c" * 5
WOO = {"consumer_key": KEY, "consumer_secret": SECRET}
TOKEN = "EAA" + "7bQ9zK" * 8
ACCOUNT = Account("Europe/Berlin", "EUR", "The Shop")
BOX = SecretBox([NEW])
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC/+Xy\nBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"
KEY_DOCUMENT = {
    "type": "service_account",
    "project_id": "my-project",
    "private_key_id": "0123456789abcdef0123",
    "private_key": PEM,
    "client_email": "reader@my-project.iam.example",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def add_acme(connection: Connection) -> Connection:
    """The organisation acme, in Tokyo and yen."""
    connection.execute("insert into public.organizations (slug, time_zone, currency) values ('acme', 'Asia/Tokyo', 'JPY')")
    connection.commit()
    return connection


def add_store(connection: Connection, number: int = 1, name: str | None = None, **options: Any) -> UUID:
    """A WooCommerce store of acme."""
    options = dict[str, Any](box=BOX, account=ACCOUNT) | options
    return registry.add(
        connection, "acme", "woocommerce", name, {"store_url": f"https://shop{number}.example.com"}, WOO, **options
    )


def row_of(connection: Connection, identifier: UUID) -> dict[str, Any]:
    """The row as it stands, all columns."""
    row = connection.execute("select * from public.data_sources where id = %s", (identifier,)).fetchone()
    assert row is not None
    return row
