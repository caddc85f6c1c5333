"""Made-up secrets for every setting that holds one."""

from __future__ import annotations

from cryptography.fernet import Fernet
from sqlalchemy.engine import make_url

from analytics_assets_tests.sources.hostile import made_up
from analytics_assets_tests.sources.leaks import LEAST, Search

_MARKS = "-_.~"
_KEYS = "ANALYTICS_CONNECTION_KEYS"
_MADE_UP = (
    "ANALYTICS_GOOGLE_CLIENT_SECRET",
    "ANALYTICS_META_APP_SECRET",
    "ANALYTICS_NARRATIVE_KEY",
    "ANALYTICS_SHOPIFY_CLIENT_SECRET",
    "ANALYTICS_SMTP_PASSWORD",
    "PGPASSWORD",
)

# Of an address the path is the secret; nobody listens at this port.
_ADDRESSES = ("ANALYTICS_ALERT_WEBHOOK_URL", "ANALYTICS_ALERT_SLACK_URL", "ANALYTICS_NARRATIVE_URL")
_NOWHERE = "http://127.0.0.1:9/"


def secret_environment(url: str) -> dict[str, str]:
    """DATABASE_URL, and a secret in every other variable that takes one."""
    secrets = {name: made_up(name, _MARKS) for name in _MADE_UP}
    if make_url(url).password is None:
        del secrets["PGPASSWORD"]  # the server's own way in may be there
    plain = {"ANALYTICS_NARRATIVE_MODEL": "words"}
    return {"DATABASE_URL": url, **plain, _KEYS: ",".join(Fernet.generate_key().decode() for _ in range(2)), **secrets} | {
        name: _NOWHERE + made_up(name, _MARKS) for name in _ADDRESSES
    }


def search_for(environment: dict[str, str]) -> Search:
    """Looks for these secrets, and for the passwords of URLs where they are long enough to be searched for."""
    found = [part for name in (_KEYS, *_MADE_UP) if name in environment for part in environment[name].split(",")]
    found += [environment[name].removeprefix(_NOWHERE) for name in _ADDRESSES if name in environment]
    for name in ("DATABASE_URL", "DAGSTER_DATABASE_URL"):
        password = make_url(environment[name]).password if name in environment else None
        found += [str(password)] if password and len(password) >= LEAST else []
    return Search(found)
