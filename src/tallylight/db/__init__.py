"""The database: models, sessions and migrations. SQLite in the data directory."""

from tallylight.db.database import Database
from tallylight.db.models import BroadcastRow, Installation, Stream

__all__ = ["BroadcastRow", "Database", "Installation", "Stream"]
