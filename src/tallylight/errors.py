"""The errors people meet, each with a stable code, a cause and, where there is one, a fix."""


class TallylightError(Exception):
    """Something the user or the caller can act on.

    Attributes:
        code: Stable, snake_case; programs may compare it.
        message: The cause, one sentence for people.
        fix: What to do about it, one sentence, or None.
    """

    def __init__(self, code: str, message: str, fix: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix

    def sentence(self) -> str:
        """Cause and fix on one line."""
        return self.message if self.fix is None else f"{self.message} {self.fix}"


class StartError(TallylightError):
    """`serve` cannot start; nothing is left running."""
