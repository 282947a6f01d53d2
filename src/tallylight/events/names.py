"""Every event that the control plane emits, by name. Those of the engine are listed in docs/engine-api.md.

A test holds the source to it in both directions: what is emitted is here, and what is here is emitted.
"""

EVENTS = {
    "broadcast_continued": "The publisher is back within the reconnect window; the broadcast goes on.",
    "broadcast_ended": "The broadcast is over; `reason` is why its last publication ended.",
    "broadcast_reconnecting": "No media arrives; the broadcast waits for its publisher.",
    "broadcast_started": "Media arrives on a stream that had no open broadcast.",
    "internal_token_rejected": "A program asked for a stream's video without the right internal token.",
    "processor_ended": "A processor stopped on purpose.",
    "processor_failed": "A processor says that it does not work; `sentence` is its own.",
    "processor_gone": "A processor stopped reporting without saying goodbye.",
    "processor_started": "A processor reports for the first time.",
    "health_changed": "`/api/health` has another status than before, for 5 s or more.",
    "publish_denied": "Somebody who wanted to publish was refused; `code` says why. Ten a minute of each address.",
    "sign_in_refused": "Somebody could not sign in; `code` says why, `user` whose account it was if there is one.",
    "signed_in": "A user signed in.",
    "playback_tokens_revoked": "Every playback token of a private stream is void from now on.",
    "stream_changed": "Title, description, visibility or owner of a stream was changed; `changed` says which.",
    "stream_created": "A stream was made.",
    "stream_deleted": "A stream was deleted with its key.",
    "stream_key_rotated": "A stream has a new key; the old one opens nothing any more.",
    "webhook_address_refused": "A webhook's address is not sent to; `reason` and `during` (`save`, `use`) say why.",
    "webhook_attempt_failed": "A webhook did not take a message; it is sent again at `next_attempt_at`.",
    "webhook_changed": "A webhook has another address, events, state or secret.",
    "webhook_created": "A webhook was made.",
    "webhook_deleted": "A webhook was deleted with its deliveries.",
    "webhook_delivered": "A webhook took a message.",
    "webhook_deliveries_dropped": "More messages waited than are kept; the oldest are lost.",
    "webhook_disabled": "A webhook's receiver answered that it is gone; nothing more is sent there.",
    "webhook_failed": "A message to a webhook was given up.",
}

# A notice to one reader, not an event: what it asked for is older than the log, which begins at `oldest`.
EVENTS_LOST = "events_lost"

# Of the server or of other people's, although a stream is named.
ADMIN_ONLY = frozenset(name for name in EVENTS if name.startswith("webhook_"))
