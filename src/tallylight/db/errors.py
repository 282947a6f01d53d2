"""Why the database cannot be used."""

from sqlalchemy.exc import SQLAlchemyError

from tallylight.errors import TallylightError


class DatabaseError(TallylightError):
    """The database cannot be used, and waiting will not change that."""


class DatabaseAwayError(SQLAlchemyError):
    """The database does not answer now. The message is a sentence for people, without secrets.

    Attributes:
        refused: It did answer, and will not let us in until somebody changes something.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused
