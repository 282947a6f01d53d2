"""Writes down when users, sessions and tokens were used last: good to know, and never worth refusing a request for."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy import Update
from sqlalchemy.exc import SQLAlchemyError

from tallylight.db import Database

log = structlog.get_logger()

# A database that takes no writes makes each try wait for as long as it is patient (2 s).
PAUSE_S = 30.0


class LastUse:
    """Makes the updates it is given, if the database can be written."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._paused_until_s = 0.0
        self._failing = False

    async def note(self, update: Update) -> None:
        """Makes this update, or says once that none can be made."""
        if self._failing and self._clock() < self._paused_until_s:
            return
        # Others need not wait as well, should it fail again.
        self._paused_until_s = self._clock() + PAUSE_S
        try:
            async with self._database.session() as session:
                await session.execute(update)
        except SQLAlchemyError as error:
            if not self._failing:
                log.warning("last_use_not_noted", cause=type(error).__name__)
            self._failing = True
        else:
            self._failing = False
