"""The two applications: the public one behind the engine's front, and the internal one on the loopback address."""

from fastapi import FastAPI

from tallylight import __version__
from tallylight.api import (
    broadcasts,
    dashboard,
    engine_routes,
    events,
    internal,
    live,
    media_status,
    metrics,
    openapi,
    posters,
    problems,
    processors,
    server_info,
    session,
    streams,
    tokens,
    users,
    webhooks,
)
from tallylight.api.control import Control
from tallylight.api.limits import AnswerHeaders, BodyLimit, ForwardedLimit
from tallylight.telemetry.requests import CountRequests


def public_app(control: Control) -> FastAPI:
    """What the engine's front passes on to, and the engine's own question. Knows nothing below `/internal`."""
    app = FastAPI(
        title="Tallylight", version=__version__, openapi_url="/api/openapi.json", docs_url=None, redoc_url=None
    )
    app.state.control = control
    app.state.live = live.LiveStreams(control)
    app.state.live_dashboard = dashboard.LiveDashboard(control)
    routers = (
        live.router,
        streams.router,
        session.router,
        users.router,
        tokens.router,
        posters.router,
        dashboard.router,
        webhooks.router,
        broadcasts.router,
        events.router,
        server_info.router,
        media_status.router,
        engine_routes.router,
    )
    for router in routers:
        app.include_router(router)
    openapi.install(app)
    _finish(app, control, "public")
    return app


def internal_app(control: Control) -> FastAPI:
    """For programs on this host only."""
    app = FastAPI(title="Tallylight internal", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.control = control
    app.include_router(internal.router)
    app.include_router(metrics.router)
    app.include_router(processors.router)
    openapi.install(app)
    _finish(app, control, "internal")
    return app


def _finish(app: FastAPI, control: Control, listener: str) -> None:
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(ForwardedLimit)
    app.add_middleware(AnswerHeaders)
    app.add_middleware(CountRequests, log=control.requests, listener=listener)
