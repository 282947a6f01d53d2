"""The answer to the engine's one question: may this publish go ahead?"""

import time
from collections.abc import Callable

from tallylight.engine.models import AdmissionQuestion, Allowed, Refused
from tallylight.events import EventLog
from tallylight.streams.keys import key_matches
from tallylight.streams.store import StreamStore, StreamUnknownError
from tallylight.streams.wrong_key_limit import WrongKeyLimit

KEY_MISSING = Refused(code="key_missing", message="A stream key is needed to publish.")
KEY_WRONG = Refused(code="key_wrong", message="This stream key is not valid.")
RATE_LIMITED = Refused(
    code="rate_limited", message="Too many wrong stream keys from this address; wait a minute and check the key."
)


class Admission:
    """Decides who may publish. A right key is always let in; only wrong ones are counted against their address."""

    def __init__(self, streams: StreamStore, events: EventLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._streams = streams
        self._events = events
        self._clock = clock
        self._limit = WrongKeyLimit()

    async def decide(self, question: AdmissionQuestion) -> Allowed | Refused:
        """The key decides the stream; a stream named as well must be the one that the key opens."""
        answer = await self._judge(question)
        if (
            isinstance(answer, Refused)
            and answer is not KEY_MISSING
            and not self._limit.take(question.remote_ip, self._clock())
        ):
            answer = RATE_LIMITED
        if isinstance(answer, Refused):
            self._events.emit(
                "publish_denied",
                stream=question.stream,
                code=answer.code,
                protocol=question.protocol,
                session=question.session,
            )
        return answer

    async def _judge(self, question: AdmissionQuestion) -> Allowed | Refused:
        if not question.key:
            return KEY_MISSING
        if question.stream is None:
            stream = await self._streams.find_by_key(question.key)
        else:
            try:
                stream = await self._streams.get(question.stream)
            except StreamUnknownError as error:
                return Refused(code="stream_unknown", message=error.message)
        # The look-up by hash found it, or the name did: either way the key itself is compared, in constant time.
        if stream is None or not key_matches(question.key, stream.key_hash):
            return KEY_WRONG
        return Allowed(stream=stream.name)
