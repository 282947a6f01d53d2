"""The loop of a processor: ask for the source, decode, call the function, publish; and again, whatever ends."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction
from typing import Any

import av
import structlog
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from tallylight.demo.pace import Backoff
from tallylight.errors import TallylightError
from tallylight.processing.frame import Frame, read_frame
from tallylight.processing.ledger import Ledger, State
from tallylight.processing.publication import Encoding, Publication, PublishError
from tallylight.processing.queue import FrameQueue, Picture, Sound
from tallylight.processing.reporter import Reporter
from tallylight.processing.server import Server, Target
from tallylight.processing.source import SourceError, Tap

log = structlog.get_logger()

FrameFunction = Callable[[Frame], None]

# A stream that is off the air is asked for this often: the result is back within a second of the source.
ASK_AGAIN_S = 0.5
# What does not get better by itself (a wrong token or key, an unreadable codec) is tried again this often.
SLOW_RETRY_S = 5.0
# The tap begins with up to a group of pictures at once; a pause this long says that the rest comes as it is made.
CAUGHT_UP_AFTER_S = 0.03
# A machine that decodes no faster than the pictures come never sees such a pause.
CATCH_UP_LIMIT_S = 1.0
# A function that fails on some pictures has failed until it has raised nothing for this long.
CALM_AFTER_S = 1.0
# What the threads may take to end after the signal; a function that hangs is left behind with the process.
STOP_TIMEOUT_S = 3.0
# When the container does not say; only the encoder's rate control uses it.
USUAL_FRAME_RATE = Fraction(30)

_OFF_AIR = frozenset({"nothing_on_air", "source_ended"})
# These are for somebody to mend; what is away comes back.
_FAILURES = frozenset({"token_wrong", "token_missing", "codec_not_playable", "no_video", "output_refused"})


class Processor:
    """Hands each picture of a stream to a function, and publishes what the function made of it.

    A slow function gets the newest pictures; the others are dropped and counted. Sound passes unchanged. A picture on
    which the function raises is left out, never passed on as it was. The source's going off the air, a change of its
    size, a restart of the server: each ends the publication, and the next begins as soon as there is a source again.

    Args:
        source: Name of the stream to read.
        on_frame: Called with every picture, one at a time, on a thread of its own; draws on it in place.
        server: Where the stream is.
        publish_to: The stream to publish; None to look at pictures only.
        name: What lamps and logs call this processor.
        encoding: How the result is encoded.
    """

    def __init__(
        self,
        source: str,
        on_frame: FrameFunction,
        server: Server,
        *,
        publish_to: Target | None = None,
        name: str = "processor",
        encoding: Encoding | None = None,
    ) -> None:
        self._source = source
        self._on_frame = on_frame
        self._server = server
        self._target = publish_to
        self._encoding = encoding or Encoding()
        self._number = 0
        self._raised_s = -math.inf
        self._stop = threading.Event()
        self._tap: Tap | None = None
        self._crash: BaseException | None = None
        self.ledger = Ledger(name, source, publish_to.stream if publish_to else None, os.getpid())
        self._reporter = Reporter(server, self.ledger)

    def run(self) -> None:
        """Works until `stop()`, SIGTERM or SIGINT; call it from the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self.stop())
        av.logging.set_level(av.logging.PANIC)  # its errors reach us as exceptions
        threads = [
            threading.Thread(target=self._work, name="work", daemon=True),
            threading.Thread(target=self._reporter.run, args=(self._stop,), name="report", daemon=True),
        ]
        log.info("processor_started", source=self._source, target=self.ledger.target, pid=self.ledger.pid)
        for thread in threads:
            thread.start()
        self._stop.wait()
        self._cut()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        log.info("processor_stopped", frames_in=self.ledger.taken.frames, frames_out=self.ledger.given.frames)
        if self._crash is not None:
            raise self._crash

    def stop(self) -> None:
        """Makes `run()` return; from any thread or signal handler."""
        self._stop.set()
        self._reporter.wake()

    def _cut(self) -> None:
        if (tap := self._tap) is not None:
            tap.cut()

    def _work(self) -> None:
        backoff = Backoff(limit_s=SLOW_RETRY_S)
        try:
            while not self._stop.is_set():
                frames = self.ledger.given.frames
                try:
                    self._run_once()
                    wait_s = 0.0
                except (SourceError, PublishError) as error:
                    wait_s = self._explain(error, backoff)
                if self.ledger.given.frames > frames:
                    backoff.reset()
                self._stop.wait(wait_s)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            self._crash = error
            self.stop()

    def _explain(self, error: TallylightError, backoff: Backoff) -> float:
        """Takes the state that the error means, says it once, and tells how long to wait."""
        if error.code in _OFF_AIR:
            self._become("waiting")
            return ASK_AGAIN_S
        failed = error.code in _FAILURES
        self._become("failed" if failed else "waiting", error)
        return SLOW_RETRY_S if failed else backoff.next_s()

    def _become(self, state: State, error: TallylightError | None = None) -> None:
        if not self.ledger.become(state, error):
            return
        if error is None:
            log.info(f"processor_{state}", source=self._source)
        else:
            log.error(f"processor_{state}", source=self._source, code=error.code, sentence=error.sentence())
        self._reporter.wake()

    def _run_once(self) -> None:
        """One publication of the source, from opening its tap to its end.

        Raises:
            SourceError, PublishError
        """
        with Tap(self._server, self._source) as tap:
            self._tap = tap
            if self._stop.is_set():
                return
            with _open(tap) as container:
                if not container.streams.video:
                    raise SourceError("no_video", f"The stream {self._source!r} has sound only.")
                queue = FrameQueue()
                self.ledger.follow(queue)
                reader = threading.Thread(target=self._read, args=(container, queue), name="read", daemon=True)
                reader.start()
                try:
                    self._process(queue, container)
                finally:
                    tap.cut()
                    reader.join()
        raise SourceError("source_ended", "The publication has ended.")

    def _read(self, container: InputContainer, queue: FrameQueue) -> None:
        """Decodes until the tap ends. The burst at its begin is decoded, but only what comes after it is handed on."""
        video = container.streams.video[0]
        video.codec_context.thread_count = 1
        streams = [video, *container.streams.audio[:1]]
        began_s = asked_s = time.monotonic()
        caught_up = False
        try:
            for packet in container.demux(*streams):
                now_s = time.monotonic()
                caught_up |= now_s - asked_s > CAUGHT_UP_AFTER_S or now_s - began_s > CATCH_UP_LIMIT_S
                if packet.stream is video:
                    self._decode(packet, queue, caught_up)
                elif caught_up and packet.pts is not None and packet.time_base is not None:
                    queue.put(Sound(packet, float(packet.pts * packet.time_base)))
                asked_s = time.monotonic()
        except av.FFmpegError:
            # The tap broke off in the middle of a chunk.
            self.ledger.failed_once(self.ledger.taken)
        finally:
            queue.end()

    def _decode(self, packet: av.Packet[Any], queue: FrameQueue, caught_up: bool) -> None:
        try:
            pictures = packet.decode()
        except av.FFmpegError:
            self.ledger.failed_once(self.ledger.taken)
            return
        self.ledger.took(len(pictures) if caught_up else 0, packet.size)
        for picture in pictures:
            if caught_up and isinstance(picture, av.VideoFrame) and picture.time is not None:
                queue.put(Picture(picture, picture.time, time.monotonic()))

    def _process(self, queue: FrameQueue, container: InputContainer) -> None:
        publication: Publication | None = None
        with ExitStack() as publications:
            while (item := queue.take()) is not None and not self._stop.is_set():
                if isinstance(item, Sound):
                    if publication is not None:
                        self.ledger.gave(0, publication.send_sound(item))
                    continue
                frame = read_frame(item.decoded, self._number, item.time_s)
                self._number += 1
                if not self._call(frame):
                    continue
                if self._target is not None and publication is None:
                    publication = publications.enter_context(self._publish(self._target, frame, container))
                if publication is not None and publication.size != (frame.width, frame.height):
                    return
                self.ledger.gave(1, 0 if publication is None else publication.send(frame))
                if time.monotonic() - self._raised_s >= CALM_AFTER_S:
                    self._become("running")

    def _call(self, frame: Frame) -> bool:
        try:
            self._on_frame(frame)
        except Exception as error:
            self._raised_s = time.monotonic()
            self.ledger.failed_once(self.ledger.given)
            said = TallylightError("frame_function_failed", f"Its function raised {type(error).__name__}: {error}.")
            if self.ledger.error is None:
                log.error("frame_function_failed", exc_info=error)
            self._become("failed", said)
            return False
        return True

    def _publish(self, target: Target, frame: Frame, container: InputContainer) -> Publication:
        sound: AudioStream | None = next(iter(container.streams.audio), None)
        url = f"{self._server.rtmp_url}/{target.key}"
        publication = Publication(url, frame, _frame_rate(container.streams.video[0]), sound, self._encoding)
        log.info("processor_on_air", target=target.stream, width=frame.width, height=frame.height)
        return publication


def _open(tap: Tap) -> InputContainer:
    try:
        # The init segment describes the tracks; half a second of media would be looked at only to guess the frame rate.
        return av.open(tap, "r", format="mp4", options={"fpsprobesize": "0"})
    except (av.FFmpegError, ValueError) as error:
        raise SourceError("source_ended", f"The video ended before it began ({type(error).__name__}).") from error


def _frame_rate(video: VideoStream) -> Fraction:
    rate = video.guessed_rate or video.average_rate
    return rate if rate is not None and 1 <= rate <= 240 else USUAL_FRAME_RATE
