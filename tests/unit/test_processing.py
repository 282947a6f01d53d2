"""What a processor is made of: pictures, the queue, the publication, the ledger, the answers of videoExpose."""

from __future__ import annotations

import importlib.util
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
from structlog.testing import capture_logs

from support.publishers import SMALL, write_clip
from support.seen import luma_of, read_bar
from tallylight.cli.local_api import LocalApiError
from tallylight.config import Settings
from tallylight.diagnosis.processors import ProcessorLedger
from tallylight.errors import TallylightError
from tallylight.processing import Encoding, Frame, Server, Target
from tallylight.processing import processor as processing
from tallylight.processing.frame import read_frame
from tallylight.processing.ledger import Ledger
from tallylight.processing.processor import Processor
from tallylight.processing.publication import Publication, PublishError
from tallylight.processing.queue import MAX_FRAMES, FrameQueue, Picture, Sound
from tallylight.processing.reporter import MIN_GAP_S, Reporter
from tallylight.processing.server import ProcessorStartError, read_key, target_of_this_host
from tallylight.processing.source import SourceError, Tap

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/videoProcess.py"


def blank(number: int = 0, time_s: float = 0.0, width: int = 320, height: int = 180) -> Frame:
    picture = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
    return Frame(picture, width, height, number, time_s)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_planes_are_views_of_one_picture() -> None:
    frame = blank()
    frame.y[:] = 16
    frame.u[:], frame.v[:] = 90, 240
    assert frame.y.shape == (180, 320)
    assert frame.u.shape == frame.v.shape == (90, 160)
    decoded = av.VideoFrame.from_ndarray(frame.picture, format="yuv420p")
    planes = [set(bytes(plane)[: plane.width]) for plane in decoded.planes]
    assert planes == [{16}, {90}, {240}]


def test_rgb_goes_out_and_comes_back() -> None:
    frame = blank()
    red = np.zeros((180, 320, 3), dtype=np.uint8)
    red[:, :, 0] = 255
    frame.set_rgb(red)
    assert abs(frame.rgb().astype(int) - red).max() <= 3
    with pytest.raises(ValueError, match="expected uint8"):
        frame.set_rgb(red[:10])


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuvj420p", "rgb24"])
def test_other_formats_and_odd_sizes_become_even_planar_pictures(pixel_format: str) -> None:
    decoded = av.VideoFrame(321, 181, "gray").reformat(format=pixel_format)
    frame = read_frame(decoded, 7, 1.5)
    assert (frame.width, frame.height, frame.number, frame.time_s) == (320, 180, 7, 1.5)
    assert frame.picture.shape == (270, 320)
    assert frame.picture.flags.writeable


def picture(arrived_s: float = 0.0) -> Picture:
    return Picture(av.VideoFrame(16, 16, "yuv420p"), arrived_s, arrived_s)


def test_a_full_queue_lets_go_of_the_oldest_pictures_and_of_no_sound() -> None:
    clock = Clock()
    queue = FrameQueue(clock)
    queue.put(picture(90.0))
    queue.put(Sound(av.Packet(b"x"), 90.0))
    for number in range(MAX_FRAMES + 2):
        queue.put(picture(91.0 + number))
    state = queue.state()
    assert (state.length, state.dropped) == (MAX_FRAMES, 3)
    assert isinstance(queue.take(), Sound)
    first = queue.take()
    assert isinstance(first, Picture)
    assert first.time_s == 93.0
    # The one in the function counts: a function that hangs shows as an age that grows.
    assert queue.state().age_s == 7.0
    queue.end()
    rest = [queue.take() for _ in range(MAX_FRAMES)]
    assert rest[-1] is None
    assert queue.state().age_s == 0.0


def test_the_reader_of_the_queue_waits_for_what_comes() -> None:
    queue = FrameQueue()

    def write() -> None:
        queue.put(picture())
        queue.end()

    threading.Thread(target=write).start()
    assert isinstance(queue.take(), Picture)
    assert queue.take() is None


def test_the_report_is_what_the_server_takes() -> None:
    clock = Clock()
    ledger = Ledger("videoProcess", "main", "main-processed", 7, clock)
    queue = FrameQueue(clock)
    for number in range(MAX_FRAMES + 5):
        queue.put(picture(number))
    ledger.follow(queue)
    first = ProcessorLedger.model_validate_json(json.dumps(ledger.report()))
    assert (first.state, first.in_.age_ms, first.queue.dropped) == ("starting", None, 5)
    ledger.took(60, 9000)
    ledger.gave(50, 8000)
    assert ledger.become("failed", TallylightError("frame_function_failed", "x" * 900))
    assert not ledger.become("failed", TallylightError("frame_function_failed", "y"))
    ledger.follow(None)
    clock.now_s += 2
    second = ProcessorLedger.model_validate_json(json.dumps(ledger.report()))
    assert (second.fps_in, second.fps_out) == (30.0, 25.0)
    assert (second.in_.bytes, second.out.age_ms, second.queue.dropped) == (9000, 2000.0, 5)
    assert second.error is not None


def test_a_publication_keeps_time_and_passes_sound_on(tmp_path: Path) -> None:
    """Pictures drawn on, sound as it was, both at their own times; a keyframe every two seconds and no B-frame."""
    source = write_clip(tmp_path / "source.mp4", replace(SMALL, frame_rate=15), 5)
    target = str(tmp_path / "result.flv")
    pictures: list[float] = []
    sounds: list[tuple[float, bytes]] = []
    with av.open(str(source)) as container:
        sound = container.streams.audio[0]
        publication = None
        for packet in container.demux():
            if packet.stream is sound and packet.pts is not None and packet.time_base is not None:
                sounds.append((float(packet.pts * packet.time_base), bytes(packet)))
                if publication is not None:
                    publication.send_sound(Sound(packet, sounds[-1][0]))
                continue
            for decoded in packet.decode():
                assert isinstance(decoded, av.VideoFrame)
                assert decoded.time is not None
                # A second is missing, as behind a function that hangs.
                if 2.0 <= decoded.time < 3.0:
                    continue
                frame = read_frame(decoded, len(pictures), decoded.time)
                if publication is None:
                    publication = Publication(target, frame, Fraction(15), sound, Encoding()).__enter__()
                pictures.append(frame.time_s)
                assert publication.send(frame) > 0
        assert publication is not None
        publication.__exit__(None, None, None)
    video: list[tuple[float, bool]] = []
    heard: list[tuple[float, bytes]] = []
    with av.open(target) as container:
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:
                continue
            time_s = float(packet.pts * packet.time_base)
            if packet.stream.type == "audio":
                heard.append((time_s, bytes(packet)))
            else:
                assert packet.pts == packet.dts
                video.append((time_s, packet.is_keyframe))
    assert [time_s for time_s, _ in video] == pytest.approx([time_s - pictures[0] for time_s in pictures], abs=0.002)
    keyframes = [time_s for time_s, keyframe in video if keyframe]
    # At 2 s there was no picture: the keyframe is the next one.
    assert keyframes == pytest.approx([0.0, 3.0], abs=0.1)
    assert len(heard) > 100
    passed_on = sounds[-len(heard) :]
    assert [data for _, data in heard] == [data for _, data in passed_on]
    expected = [time_s - pictures[0] for time_s, _ in passed_on]
    assert [time_s for time_s, _ in heard] == pytest.approx(expected, abs=0.002)


def test_a_publication_that_is_refused_says_so_without_the_key() -> None:
    with pytest.raises(PublishError) as refused:
        Publication("rtmp://127.0.0.1:1/live/secret-key", blank(), Fraction(30), None, Encoding())
    assert refused.value.code == "output_lost"
    assert "secret-key" not in refused.value.sentence()
    assert "secret-key" not in repr(Target("main", "secret-key"))


def test_bitrates_follow_the_picture() -> None:
    automatic = Encoding()
    assert automatic.bitrate_for(1280, 720, Fraction(30)) == pytest.approx(2_500_000, rel=0.01)
    assert automatic.bitrate_for(160, 90, Fraction(5)) == 400_000
    assert automatic.bitrate_for(7680, 4320, Fraction(60)) == 8_000_000
    assert Encoding(bitrate_bps=1).bitrate_for(1280, 720, Fraction(30)) == 1


@contextmanager
def answering(status: int, body: bytes) -> Iterator[Server]:
    """A server that gives everybody the same answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    seen: list[tuple[str, str]] = []
    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield Server(f"http://127.0.0.1:{http.server_port}", "rtmp://127.0.0.1/live", lambda: "the-token")
        http.shutdown()
    assert seen == [("/internal/videoExpose?stream=main", "Bearer the-token")]


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (401, b'{"code": "token_wrong", "detail": "Not valid."}', "token_wrong", "refused the processor's token"),
        (404, b'{"code": "nothing_on_air", "detail": "Looked for it."}', "nothing_on_air", "Looked for it."),
        (502, b"<html>", "answer_unexpected", "502"),
        (500, b"[]", "answer_unexpected", "500"),
    ],
)
def test_refusals_become_errors_with_a_code_and_a_sentence(status: int, body: bytes, code: str, words: str) -> None:
    with answering(status, body) as server, pytest.raises(SourceError) as error:
        Tap(server, "main")
    assert error.value.code == code
    assert words in error.value.sentence()


def test_a_tap_is_read_to_its_end_and_a_missing_server_is_named() -> None:
    with answering(200, b"0123456789") as server, Tap(server, "main") as tap:
        data = b""
        while piece := tap.read(4):
            data += piece
        assert data == b"0123456789"
    with pytest.raises(SourceError) as error:
        Tap(Server("http://127.0.0.1:1", "", str), "main")
    assert error.value.code == "server_away"


def test_token_and_key_come_from_files(tmp_path: Path) -> None:
    server = Server.of(Settings(data_dir=tmp_path))
    assert server.token() == ""
    (tmp_path / "internal-token").write_text("abc\n")
    assert server.token() == "abc"
    (tmp_path / "key").write_text("k\n")
    assert read_key(tmp_path / "key") == "k"
    with pytest.raises(ProcessorStartError):
        read_key(tmp_path / "nothing")


class FakeApi:
    """The API of a server with one private stream that belongs to somebody."""

    streams: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(self, _data: object) -> None:
        return

    def __enter__(self) -> FakeApi:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def get(self, path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if name not in self.streams:
            raise LocalApiError("stream_unknown", "There is no such stream.")
        return self.streams[name]

    def post(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["name"] in self.streams:
            raise LocalApiError("stream_exists", "There is one already.")
        self.streams[body["name"]] = body | {"owner": None}
        return {"key": "its-key"}

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self.streams[path.rpartition("/")[2]] |= body


def test_what_is_made_of_a_private_stream_is_private_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"name": "main", "title": "The stage", "visibility": "private", "owner": "ann"}
    monkeypatch.setattr(FakeApi, "streams", {"main": source})
    monkeypatch.setattr("tallylight.processing.server.LocalApi", FakeApi)
    settings = Settings(data_dir=tmp_path)
    target = target_of_this_host("main-processed", "main", settings)
    assert target == Target("main-processed", "its-key")
    made = {"name": "main-processed", "title": "The stage, processed", "visibility": "private", "owner": "ann"}
    assert FakeApi.streams["main-processed"] == made
    kept = tmp_path / "processors/main-processed.key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # The second time the server is not asked.
    monkeypatch.setattr(FakeApi, "streams", {})
    assert target_of_this_host("main-processed", "main", settings) == target
    monkeypatch.setattr(FakeApi, "streams", {"main": source, "other": source})
    with pytest.raises(ProcessorStartError, match="key is not known here"):
        target_of_this_host("other", "main", settings)
    with pytest.raises(LocalApiError):
        target_of_this_host("new", "nobody", settings)


class Pictures:
    """A queue with so many pictures in it."""

    def __init__(self, count: int) -> None:
        self._left = count

    def take(self) -> Picture | None:
        self._left -= 1
        return Picture(av.VideoFrame(320, 180, "yuv420p"), 0.0, 0.0) if self._left >= 0 else None


def test_a_function_that_fails_on_some_pictures_has_failed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_frame(frame: Frame) -> None:
        if frame.number % 2 == 0:
            raise ValueError(f"picture {frame.number}")

    processor = Processor("main", on_frame, Server("http://127.0.0.1:1", "", str))
    monkeypatch.setattr(processing, "CALM_AFTER_S", 60.0)
    with capture_logs() as logged:
        processor._process(Pictures(10), None)  # type: ignore[arg-type]
    assert [line["event"] for line in logged] == ["frame_function_failed", "processor_failed"]
    assert (processor.ledger.state, processor.ledger.given.frames, processor.ledger.given.errors) == ("failed", 5, 5)
    monkeypatch.setattr(processing, "CALM_AFTER_S", 0.0)
    processor._process(Pictures(2), None)  # type: ignore[arg-type]
    assert processor.ledger.state == "running"


class Thrice:
    """Lets a reporter report three times, each of which is followed by news at once."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._left = 3
        self.waits_s: list[float] = []

    def is_set(self) -> bool:
        self._left -= 1
        return self._left < 0

    def wait(self, timeout_s: float) -> bool:
        self.waits_s.append(timeout_s)
        self._reporter.wake()
        return False


def test_news_however_often_are_reported_with_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Reporter(Server("http://127.0.0.1:1", "", str), Ledger("draw", "main", None, 7))
    said: list[str] = []
    monkeypatch.setattr(reporter, "_request", lambda method, *_: said.append(method))
    stop = Thrice(reporter)
    reporter.run(stop)  # type: ignore[arg-type]
    assert said == ["POST"] * 3 + ["DELETE"]
    assert stop.waits_s == [MIN_GAP_S] * 3


@pytest.mark.parametrize("size", [(320, 180), (640, 360), (854, 480), (1280, 720)])
def test_what_the_example_draws_can_be_read(size: tuple[int, int]) -> None:
    spec = importlib.util.spec_from_file_location("videoProcess", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    for number in (0, 1, 0b1010101010101010, 65535, 65536 + 77):
        frame = blank(number, 0.0, *size)
        example.draw(frame)
        assert read_bar(luma_of(av.VideoFrame.from_ndarray(frame.picture, format="yuv420p"))) == number % 65536
