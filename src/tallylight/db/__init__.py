"""The database: models, sessions and migrations. SQLite in the data directory."""

from tallylight.db.database import Database
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
    "Installation",
    "RetiredKey",
    "Stream",
    "User",
    "WebSession",
    "Webhook",
    "WebhookDelivery",
]
