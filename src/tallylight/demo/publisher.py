"""The demo's publisher process: sends the test card by RTMP until it is told to stop.

    python -m tallylight.demo.publisher --url rtmp://127.0.0.1/live/KEY

Paced by the clock; a machine too slow for the frame rate drops frames and counts them. When the server goes away it
tries again with a bounded back-off. It writes one JSON line to stderr at each end of a publication. Exit code 0 after
SIGTERM, SIGINT or the end of standard input; 1 when `--once` was given and the publication failed; 2 for wrong
arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import av

from tallylight.demo import URL_VARIABLE
from tallylight.demo.encoding import VIDEO_CODECS, CardPublication, CardSettings
from tallylight.demo.pace import Backoff, FramePace

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the process; returns its exit code."""
    options = _parser().parse_args(arguments)
    if not options.url:
        _parser().error(f"no server: give --url or set {URL_VARIABLE}")
    stop = threading.Event()
    for number in _ENDING_SIGNALS:
        signal.signal(number, lambda _number, _frame: stop.set())
    if options.exit_when_stdin_closes:
        threading.Thread(target=_watch_stdin, args=(stop,), daemon=True).start()
    av.logging.set_level(av.logging.PANIC)  # its errors reach us as exceptions
    settings = CardSettings(
        width=options.width,
        height=options.height,
        frame_rate=options.frame_rate,
        bitrate_bps=options.bitrate,
        gop_s=options.gop_seconds,
        b_frames=options.b_frames,
        video_codec=options.video_codec,
        audio_codec=options.audio_codec,
    )
    return run(options.url, settings, stop, once=options.once)


def run(url: str, settings: CardSettings, stop: threading.Event, *, once: bool) -> int:
    """Publishes until `stop` is set, again and again unless `once`; returns the exit code."""
    backoff = Backoff()
    while not stop.is_set():
        try:
            _publish(url, settings, stop, backoff)
        except (av.FFmpegError, OSError) as error:
            retry_s = None if once else backoff.next_s()
            log("demo_publish_lost", reason=_without_url(error, url), retry_s=retry_s)
            if retry_s is None:
                return 1
            stop.wait(retry_s)
    return 0


def _publish(url: str, settings: CardSettings, stop: threading.Event, backoff: Backoff) -> None:
    clock = SteadyClock()
    first_frame = int(clock.unix_s() * settings.frame_rate)
    with _dying_at_once():
        publication = CardPublication(url, settings, first_frame)
    log("demo_publish_started", first_frame=first_frame, frame_rate=settings.frame_rate)
    pace = FramePace(settings.frame_rate, last_frame=first_frame - 1)
    sent = reported = 0
    try:
        with publication:
            while not stop.is_set():
                frame = pace.take(clock.unix_s())
                if frame is None:
                    stop.wait(pace.wait_s(clock.unix_s()))
                    continue
                publication.send(frame)
                sent += 1
                if sent % settings.frame_rate == 0 and pace.dropped > reported:  # at most once a second
                    reported = pace.dropped
                    log("demo_frames_dropped", total=reported)
                if sent == settings.frame_rate:  # a second on air: the server is there, start over with short waits
                    backoff.reset()
    finally:
        log("demo_publish_ended", frames_sent=sent, frames_dropped=pace.dropped)


@contextmanager
def _dying_at_once() -> Iterator[None]:
    """While the library connects it returns to Python only when the server answers: let signals end us at once."""
    handlers = {number: signal.signal(number, signal.SIG_DFL) for number in _ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


class SteadyClock:
    """Unix time that never jumps: the wall clock at the start, the monotonic clock since."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def unix_s(self) -> float:
        return self._offset_s + time.monotonic()


def _watch_stdin(stop: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    stop.set()


def _without_url(error: Exception, url: str) -> str:
    """The error in words, without the stream key."""
    reason = getattr(error, "strerror", None) or type(error).__name__
    return str(reason).replace(url, "rtmp://…")


def log(event: str, **fields: object) -> None:
    """One event, as a JSON line on stderr."""
    print(json.dumps({"event": event, **fields}), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    standard = CardSettings()
    parser = argparse.ArgumentParser(prog="tallylight.demo.publisher", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=os.environ.get(URL_VARIABLE), help=f"rtmp://host/live/KEY (or {URL_VARIABLE})")
    parser.add_argument("--width", type=int, default=standard.width)
    parser.add_argument("--height", type=int, default=standard.height)
    parser.add_argument("--frame-rate", type=int, default=standard.frame_rate)
    parser.add_argument("--bitrate", type=int, default=standard.bitrate_bps, help="of the video, in bit/s")
    parser.add_argument("--gop-seconds", type=float, default=standard.gop_s)
    parser.add_argument("--b-frames", type=int, default=standard.b_frames)
    parser.add_argument("--video-codec", choices=VIDEO_CODECS, default=standard.video_codec)
    parser.add_argument("--audio-codec", choices=["aac", "libopus"], default=standard.audio_codec)
    parser.add_argument("--once", action="store_true", help="end when the publication ends instead of trying again")
    parser.add_argument("--exit-when-stdin-closes", action="store_true")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
