"""The sandbox server: four vendors' protocols on one port, and how a client is pointed at it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from analytics_assets.listening import address, listen, reached_at
from analytics_assets.sandbox import (
    control,
    google_access,
    serve_google,
    serve_meta,
    serve_shopify,
    serve_woocommerce,
    shopify_access,
    woocommerce_access,
)
from analytics_assets.sandbox.fault_middleware import DROP, FaultMiddleware
from analytics_assets.sandbox.state import Sandbox
from analytics_assets.sandbox.world import SandboxOrganization

_HOST = "127.0.0.1"
_START_SECONDS = 20


def make_app(sandbox: Sandbox) -> Starlette:
    """The application; it has to be served by ``running``, whose connections faults can close."""
    served = (control, serve_google, serve_woocommerce, serve_shopify, serve_meta)
    routes = [route for module in served for route in module.routes(sandbox)]
    return Starlette(routes=routes, middleware=[Middleware(FaultMiddleware, sandbox=sandbox)])


class _Protocol(HttpToolsProtocol):
    """Lets a handler close its connection without an answer, and closes those that hang when the server stops."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {DROP: self.transport.abort}  # type: ignore[dict-item]

    def shutdown(self) -> None:
        super().shutdown()
        self.transport.close()


@contextmanager
def running(sandbox: Sandbox, port: int = 0, host: str = _HOST) -> Iterator[str]:
    """Serves in a thread until the block ends; yields the base URL, as this machine reaches it. Port 0 takes a free one.
    Raises OSError where the port is taken."""
    listener = listen(host, port)
    try:
        config = uvicorn.Config(
            make_app(sandbox), http=_Protocol, loop="uvloop", ws="none", lifespan="off", log_level="warning",
            access_log=False, server_header=False, timeout_keep_alive=60, timeout_graceful_shutdown=2,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
        thread.start()
        until = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the sandbox server did not start; its log says why")
            time.sleep(0.005)
        try:
            yield f"http://{address(reached_at(host), listener.getsockname()[1])}"
        finally:
            server.should_exit = True
            thread.join(10)
    finally:
        listener.close()


def vendor_environment(base: str) -> dict[str, str]:
    """The variables that make ``sources.vendors.Vendors`` speak to the server at ``base``."""
    address = base.removeprefix("http://")
    return {
        "ANALYTICS_GOOGLE_URL": base,
        "ANALYTICS_GOOGLE_TOKEN_URL": f"{base}/google/token",
        "ANALYTICS_GOOGLE_CLIENT_ID": google_access.CLIENT_ID,
        "ANALYTICS_GOOGLE_CLIENT_SECRET": google_access.CLIENT_SECRET,
        "ANALYTICS_META_URL": base,
        "ANALYTICS_META_VERSION": serve_meta.VERSION,
        "ANALYTICS_SHOPIFY_URL": f"{base}/shopify/{{shop}}",
        "ANALYTICS_SHOPIFY_CLIENT_ID": shopify_access.APP_CLIENT_ID,
        "ANALYTICS_SHOPIFY_CLIENT_SECRET": shopify_access.APP_CLIENT_SECRET,
        "ANALYTICS_SHOPIFY_DOWNLOAD_HOSTS": address,
        "ANALYTICS_STORE_HOSTS": address,
    }


def connection_of(one: SandboxOrganization, vendor: str, base: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(settings, secrets) with which a source of that type is connected to the organisation's account at ``base``."""
    if vendor == "google_analytics":
        return {"property_id": one.property_id}, {"service_account": google_access.service_account(one, base)}
    if vendor == "meta_ads":
        return {"account_id": f"act_{one.ad_account}"}, {"access_token": serve_meta.access_token(one)}
    if vendor == "woocommerce":
        key, secret = woocommerce_access.keys(one)
        settings: dict[str, Any] = {"store_url": f"{base}/stores/{one.slug}"}
        if woocommerce_access.strips_authorization(one):
            settings["query_auth"] = True
        return settings, {"consumer_key": key, "consumer_secret": secret}
    if vendor == "shopify":
        return {"shop": one.shop_domain}, {"access_token": shopify_access.access_token(one)}
    raise ValueError(f"vendor: {vendor!r} is none of google_analytics, meta_ads, woocommerce, shopify")
