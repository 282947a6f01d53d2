"""The answer to the engine's one question: may this publish go ahead?"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tallylight.engine.models import AdmissionQuestion, Allowed, Refused
from tallylight.events import EventLog
from tallylight.streams.keys import key_matches
from tallylight.streams.publishers import PublisherLog, Refusal
from tallylight.streams.sentences import ago
from tallylight.streams.store import StreamStore, StreamUnknownError
from tallylight.streams.wrong_key_limit import WrongKeyLimit

KEY_MISSING = Refused(code="key_missing", message="A stream key is needed to publish.")
KEY_WRONG = Refused(code="key_wrong", message="This stream key is not valid.")
RATE_LIMITED = Refused(
    code="rate_limited", message="Too many wrong stream keys from this address; wait a minute and check the key."
)


OWNER_MAY_NOT_PUBLISH = Refused(
    code="owner_may_not_publish",
    message="The account that this stream belongs to may not publish any more; ask who runs this server.",
)


@dataclass(frozen=True)
class _Judgement:
    """An answer, the stream that it is about, and whether it may have been a guess."""

    answer: Allowed | Refused
    stream: str | None
    guess: bool = False


class Admission:
    """Decides who may publish. A right key is always let in; only wrong ones are counted against their address."""

    def __init__(
        self,
        streams: StreamStore,
        events: EventLog,
        publishers: PublisherLog,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._streams = streams
        self._events = events
        self._publishers = publishers
        self._clock = clock
        self._limit = WrongKeyLimit()
        self._notes = WrongKeyLimit()
        # How often publishers were refused, by code.
        self.refused: Counter[str] = Counter()

    async def decide(self, question: AdmissionQuestion) -> Allowed | Refused:
        """The key decides the stream; a stream named as well must be the one that the key opens."""
        judgement = await self._judge(question)
        answer = judgement.answer
        if judgement.guess and not self._limit.take(question.remote_ip, self._clock()):
            answer = RATE_LIMITED
        if isinstance(answer, Refused):
            self.refused[answer.code] += 1
            # An encoder that tries again and again must not push everything else out of the events.
            if self._notes.take(question.remote_ip, self._clock()):
                await self._note(question, answer, judgement.stream)
        return answer

    async def _judge(self, question: AdmissionQuestion) -> _Judgement:
        if not question.key:
            return _Judgement(KEY_MISSING, question.stream)
        # First by the key, whatever stream is named: a wrong key takes as long whether that stream exists or not.
        stream = await self._streams.find_by_key(question.key)
        if stream is None or not key_matches(question.key, stream.key_hash):
            return await self._judge_old_key(question)
        if question.stream not in {None, stream.name}:
            # Who has a key of this server may be told that a name is misspelt.
            known = await self._streams.exists(question.stream or "")
            return _Judgement(KEY_WRONG if known else _unknown(question.stream), question.stream, guess=True)
        if not await self._streams.owner_may_publish(stream):
            return _Judgement(OWNER_MAY_NOT_PUBLISH, stream.name)
        return _Judgement(Allowed(stream=stream.name), stream.name)

    async def _judge_old_key(self, question: AdmissionQuestion) -> _Judgement:
        """Who had the right key once is no guesser, and is told what became of it."""
        retired = await self._streams.find_retired(question.key)
        if retired is None or question.stream not in {None, retired.stream}:
            return _Judgement(KEY_WRONG, question.stream, guess=True)
        when = ago(datetime.now(UTC) - retired.retired_at)
        if retired.reason == "deleted":
            refused = Refused(code="stream_deleted", message=f"The stream of this key was deleted {when}.")
        else:
            message = f"This stream key was rotated {when}; copy the new one from the studio."
            refused = Refused(code="key_rotated", message=message)
        return _Judgement(refused, retired.stream)

    async def _note(self, question: AdmissionQuestion, answer: Refused, stream: str | None) -> None:
        # A name that is none is a stranger's text, and nobody's business.
        stream = stream if stream is not None and await self._streams.exists(stream) else None
        self._events.emit(
            "publish_denied", stream=stream, code=answer.code, protocol=question.protocol, session=question.session
        )
        if stream is not None:
            now = datetime.now(UTC)
            refusal = Refusal(now, question.protocol, answer.code, answer.message, question.session)
            self._publishers.refused(stream, refusal)


def _unknown(name: str | None) -> Refused:
    return Refused(code="stream_unknown", message=StreamUnknownError(name or "").message)
