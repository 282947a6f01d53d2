"""The database: models, sessions and migrations. SQLite in the data directory, or PostgreSQL."""

from tallylight.db.database import Database
from tallylight.db.errors import DatabaseAwayError, DatabaseError
from tallylight.db.models import (
    ApiToken,
    BroadcastRow,
    Installation,
    RetiredKey,
    Stream,
    User,
    Webhook,
    WebhookDelivery,
    WebSession,
)

__all__ = [
    "ApiToken",
    "BroadcastRow",
    "Database",
    "DatabaseAwayError",
    "DatabaseError",
    "Installation",
    "RetiredKey",
    "Stream",
    "User",
    "WebSession",
    "Webhook",
    "WebhookDelivery",
]
