"""What happened to a publisher, in words that a streamer understands. Pure."""

from datetime import timedelta

# By the code with which a publication ended (the engine's EndReason and the broadcasts' reasons) or was refused.
SENTENCES = {
    "finished": "The encoder ended the stream.",
    "connection_lost": "The connection broke.",
    "stalled": "No picture or sound arrived any more.",
    "replaced": "Another publisher took the place of one that had gone silent.",
    "taken_over": "Taken over by another device.",
    "removed": "Taken off the air here, by somebody who may.",
    "key_rotated": "Cut off because the stream key was changed.",
    "protocol_error": "The encoder sent something that cannot be understood.",
    "shutdown": "The server was shut down.",
    "engine_lost": "The server's media engine was restarted.",
    "engine_away": "The server's media engine does not answer.",
    "publisher_busy": "This stream already has a publisher that is sending; stop it first.",
    "key_wrong": "This stream key is not valid.",
    "key_missing": "A stream key is needed to publish.",
    "rate_limited": "Too many wrong stream keys from one address.",
}


def ended_sentence(code: str) -> str:
    """One sentence for a code; one that is not known here is shown as it is."""
    return SENTENCES.get(code, f"It ended: {code}.")


def refused_sentence(message: str) -> str:
    """The refusal's own sentence, told afterwards."""
    return f"Refused: {message[:1].lower()}{message[1:]}"


def ago(passed: timedelta) -> str:
    """How long ago, in the largest unit that is at least one."""
    seconds = max(0, int(passed.total_seconds()))
    for unit, length_s in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := seconds // length_s) >= 1:
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "less than a minute ago"
