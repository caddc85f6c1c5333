"""Does the source answer? One real call, and what to do where it does not."""

from __future__ import annotations

from analytics_assets.sources import vetting
from analytics_assets.sources.connector import Account, Source
from analytics_assets.sources.connectors import connector_of
from analytics_assets.sources.failures import SourceFailure
from analytics_assets.sources.http import Http
from analytics_assets.sources.redactor import Redactor
from analytics_assets.sources.vendors import Vendors

_GRANT = {
    "google_analytics": "give the service account's or user's email the role Viewer on the property (Admin, Property access "
    "management), and see that the Google Analytics Data API is enabled in its project",
    "meta_ads": "assign the ad account to the system user with the permission ads_read",
    "woocommerce": "make a key with the permission Read for a user who may see orders (WooCommerce, Settings, Advanced, REST API)",
    "shopify": "give the app the scopes read_orders, read_all_orders and read_customers, and install it again",
}
_ADVICE = {
    "retry": "This may pass by itself: try again in some minutes, and see whether the address is right and can be reached",
    "throttled": "The vendor asks for a pause: try again later",
    "reauthorize": "The credentials are not good or no longer so: make new ones at the vendor and give them with "
    "`analytics sources authorize`",
    "configuration": "Correct the setting",
    "reduce": "Try again; if it stays so, this is ours to mend: report it with this message",
    "bug": "The answer is not understood, which is ours to mend: report it with this message",
}


def advice(kind: str, source_type: str) -> str:
    """What the operator does about a failure of a kind (SourceFailure.kind)."""
    if kind == "permission":
        return f"The credentials are good, but may not read this: {_GRANT[source_type]}."
    return _ADVICE[kind] + "."


def explain(failure: SourceFailure, source: Source) -> str:
    """Kind, message and advice, without the secrets of the source."""
    when = f" The vendor says: not before {failure.retry_at:%Y-%m-%d %H:%M:%S} UTC." if failure.retry_at else ""
    message = Redactor(source.secrets).text(str(failure)).rstrip(". ")
    return f"{failure.kind}: {message}.{when} {advice(failure.kind, source.source_type)}"


async def probe(source: Source, vendors: Vendors) -> Account:
    """What the vendor says of the account, asked with the source's own credentials. Raises SourceFailure. No secret is in
    either."""
    redactor = Redactor(source.secrets)
    async with Http(allowed_hosts=vendors.store_hosts) as http:
        connector = connector_of(source.source_type)(source, http, vendors)
        try:
            account = await connector.account()
        except SourceFailure as failure:
            redactor.learn(connector.secrets())
            failure.args = (redactor.text(str(failure)),)
            raise
        redactor.learn(connector.secrets())
        return vetting.account(account, redactor)
