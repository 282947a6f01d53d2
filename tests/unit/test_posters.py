"""Posters without an engine: the beginning of a tap, pictures of every codec, strikes, and who may see them."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import av
import httpx
import pytest

from tallylight.api.control import Control
from tallylight.paths import DataDirectory
from tallylight.posters import worker
from tallylight.posters.picture import PictureError, poster
from tallylight.posters.store import KEPT_S
from tallylight.posters.strikes import MAX_STRIKES, Strikes
from tallylight.posters.tap import MAX_BYTES, TapError, first_chunk
from unit.fake_engine import FakeEngine
from unit.test_api import assert_problem, on_air

VIDEO = {"id": 1, "kind": "video", "codec": "H264"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


def box(kind: bytes, body: bytes = b"") -> bytes:
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def movie(encoder: str = "libx264", width: int = 320, height: int = 180) -> bytes:
    """One grey picture as fragmented MP4."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=FRAGMENTED) as container:
        stream = container.add_stream(encoder, rate=30)
        assert isinstance(stream, av.VideoStream)
        if encoder == "libx265":  # looking ahead, with one picture only, it now and then ends with something unreadable
            stream.options = {"tune": "zerolatency", "x265-params": "log-level=none"}
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts = 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def size_of(jpeg: bytes) -> tuple[int, int]:
    with av.open(io.BytesIO(jpeg), "r", format="mjpeg") as container:
        frame = next(container.decode(video=0))
    return frame.width, frame.height


def test_the_first_chunk_ends_with_its_mdat() -> None:
    beginning = box(b"ftyp", b"mp42") + box(b"moov", b"x" * 90) + box(b"moof", b"y" * 40) + box(b"mdat", b"z" * 500)
    rest = box(b"moof") + box(b"mdat", b"later")
    for length in (1, 7, 64, 10_000):
        whole = beginning + rest
        pieces = iter([whole[start : start + length] for start in range(0, len(whole), length)])
        assert first_chunk(pieces) == beginning


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ([], "ended before"),
        ([box(b"ftyp"), box(b"mdat", b"x" * 9)[:-1]], "ended before"),
        ([(4).to_bytes(4, "big") + b"free"], "size 4"),
        ([(MAX_BYTES * 2).to_bytes(4, "big") + b"mdat", bytes(MAX_BYTES)], "no whole chunk"),
    ],
)
def test_a_tap_that_does_not_begin_as_agreed(pieces: list[bytes], said: str) -> None:
    with pytest.raises(TapError, match=said):
        first_chunk(pieces)


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_every_codec_becomes_a_small_jpeg(encoder: str) -> None:
    assert size_of(poster(first_chunk([movie(encoder)]))) == (640, 360)


def test_the_height_follows_the_shape_and_is_bounded() -> None:
    assert size_of(poster(movie(width=180, height=320))) == (640, 1138)
    assert size_of(poster(movie(width=64, height=512))) == (640, 1280)


def test_what_is_no_picture_is_an_error() -> None:
    with pytest.raises((PictureError, av.FFmpegError)):
        poster(box(b"ftyp", b"mp42") + box(b"moov") + box(b"mdat"))
    broken = bytearray(movie())
    at = broken.rindex(b"mdat") + 4
    broken[at:] = bytes(len(broken) - at)
    with pytest.raises((PictureError, av.FFmpegError)):
        poster(bytes(broken))


def test_strikes_survive_the_process_that_a_picture_ended(tmp_path: Path) -> None:
    file = tmp_path / ".strikes"
    for _ in range(MAX_STRIKES):
        strikes = Strikes(file)
        assert not strikes.rests("main", 7)
        strikes.begin("main", 7)
    assert Strikes(file).rests("main", 7)
    assert not Strikes(file).rests("main", 8), "another publication begins anew"
    assert not Strikes(file).rests("other", 7)


def test_a_good_picture_forgives_and_an_engine_that_is_away_is_no_strike(tmp_path: Path) -> None:
    strikes = Strikes(tmp_path / ".strikes")
    strikes.begin("main", 7)
    strikes.begin("main", 7)
    strikes.take_back("main", 7)
    assert strikes.of("main", 7) == 1
    strikes.forgive("main")
    assert strikes.counts() == {} == Strikes(tmp_path / ".strikes").counts()
    (tmp_path / ".strikes").write_text("[1]")
    assert Strikes(tmp_path / ".strikes").counts() == {}


def test_sweeping_removes_what_is_old(tmp_path: Path) -> None:
    for name in ("main.jpg", "old.jpg", ".main.jpg.new", ".strikes"):
        (tmp_path / name).write_bytes(b"x")
    now_s = time.time()
    os.utime(tmp_path / "old.jpg", (now_s, now_s - KEPT_S - 1))
    os.utime(tmp_path / ".main.jpg.new", (now_s, now_s - 3600))
    worker.sweep(tmp_path, now_s)
    assert {path.name for path in tmp_path.iterdir()} == {"main.jpg", ".strikes"}


async def test_the_worker_takes_what_is_on_air(
    data: DataDirectory, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PICTURE_LIMIT_S", 60.0)  # its alarm would end this process
    engine.streams = {
        "main": on_air("main", tracks=[VIDEO], epoch=1),
        "sound": on_air("sound", tracks=[{"id": 1, "kind": "audio", "codec": "Opus"}]),
        "over": on_air("over", status="OFF_AIR", tracks=[VIDEO]),
        "broken": on_air("broken", tracks=[VIDEO], epoch=1),
        "leaving": on_air("leaving", tracks=[VIDEO], epoch=1),
    }
    engine.taps = {"main": [movie()], "sound": [movie()], "over": [movie()], "broken": [box(b"ftyp")]}
    maker = worker.Worker(data)
    await asyncio.to_thread(maker.look)
    assert {path.name for path in data.posters.iterdir()} == {"main.jpg", ".strikes"}
    assert json.loads((data.posters / ".strikes").read_text())["broken"] == [1, 1]
    assert size_of((data.posters / "main.jpg").read_bytes()) == (640, 360)
    first = (data.posters / "main.jpg").stat().st_mtime_ns
    await asyncio.to_thread(maker.look)
    assert (data.posters / "main.jpg").stat().st_mtime_ns == first, "not due again"
    engine.streams["main"] = on_air("main", tracks=[VIDEO], epoch=2)
    await asyncio.to_thread(maker.look)
    assert (data.posters / "main.jpg").stat().st_mtime_ns > first, "another publication"
    engine.refuse = True
    await asyncio.to_thread(maker.look)


@pytest.mark.parametrize("unwritten", [(worker, "write"), (Strikes, "_save")])
async def test_a_full_disk_costs_no_stream_its_tries(
    data: DataDirectory, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, unwritten: tuple[object, str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    engine.streams, engine.taps = {"main": on_air("main", tracks=[VIDEO], epoch=1)}, {"main": [movie()]}
    monkeypatch.setattr(worker, "PICTURE_LIMIT_S", 60.0)  # its alarm would end this process
    monkeypatch.setattr(worker, "POSTER_EVERY_S", 0)
    maker = worker.Worker(data)
    with monkeypatch.context() as full_disk:
        full_disk.setattr(*unwritten, full)
        for _ in range(MAX_STRIKES):
            await asyncio.to_thread(maker.look)
    assert not (data.posters / "main.jpg").exists()
    await asyncio.to_thread(maker.look)
    assert (data.posters / "main.jpg").exists()


def test_a_decoder_that_hangs_ends_the_process_and_is_not_tried_for_ever(short_path: Path) -> None:
    """The kernel ends the process; the strike was written before."""
    program = textwrap.dedent("""
        import sys
        from pathlib import Path
        from tallylight.paths import DataDirectory
        from tallylight.posters import worker

        def hang(_mp4):
            while True:
                pass

        worker.PICTURE_LIMIT_S = 0.1
        worker.poster = hang
        worker.confine()
        maker = worker.Worker(DataDirectory(Path(sys.argv[1])))
        maker._first_chunk = lambda _name: b""
        if maker._strikes.rests("main", 1):
            sys.exit(42)
        maker._take("main", 1)
    """)
    ends = [
        subprocess.run([sys.executable, "-c", program, str(short_path)], check=False, timeout=60).returncode
        for _ in range(MAX_STRIKES + 1)
    ]
    assert ends == [-signal.SIGALRM] * MAX_STRIKES + [42]


async def test_a_poster_is_listed_and_handed_out(api: httpx.AsyncClient, control: Control, data: DataDirectory) -> None:
    assert_problem(await api.get("/api/streams/main/poster"), 404, "poster_missing")
    assert_problem(await api.get("/api/streams/nobody/poster"), 404, "stream_unknown")
    put_poster(data, "main", b"JPEG")
    stream = (await api.get("/api/streams/main")).json()
    taken_s = int((data.posters / "main.jpg").stat().st_mtime)
    assert stream["poster"] == f"/api/streams/main/poster?at={taken_s}"
    assert (await api.get("/api/streams")).json()["streams"][0]["poster"] == stream["poster"]
    answer = await api.get(stream["poster"])
    assert (answer.content, answer.headers["content-type"]) == (b"JPEG", "image/jpeg")
    assert answer.headers["cache-control"] == "max-age=10"


async def test_a_poster_of_another_time_is_none(api: httpx.AsyncClient, data: DataDirectory) -> None:
    """Neither of yesterday, nor of an earlier stream of the same name."""
    for age_s in (KEPT_S + 1, 60):
        put_poster(data, "main", b"JPEG", age_s)
        assert (await api.get("/api/streams/main")).json()["poster"] is None
        assert_problem(await api.get("/api/streams/main/poster"), 404, "poster_missing")


async def test_a_poster_of_a_private_stream_is_for_those_who_may_watch(
    api: httpx.AsyncClient, admin: httpx.AsyncClient, control: Control, data: DataDirectory
) -> None:
    async with control.database.session() as session:
        (await session.merge(await control.streams.get("main"))).visibility = "private"
    put_poster(data, "main", b"JPEG")
    assert_problem(await api.get("/api/streams/main/poster"), 404, "stream_unknown")
    answer = await admin.get("/api/streams/main/poster")
    assert (answer.content, answer.headers["cache-control"]) == (b"JPEG", "private, no-store")


@pytest.mark.parametrize("visibility", ["public", "unlisted"])
async def test_a_picture_of_a_private_time_is_shown_to_nobody_later(
    api: httpx.AsyncClient, admin: httpx.AsyncClient, data: DataDirectory, visibility: str
) -> None:
    await admin.patch("/api/streams/main", json={"visibility": "private"})
    put_poster(data, "main", b"JPEG")
    await admin.patch("/api/streams/main", json={"title": "Another"})
    assert (await admin.get("/api/streams/main/poster")).content == b"JPEG"
    await admin.patch("/api/streams/main", json={"visibility": visibility})
    assert_problem(await api.get("/api/streams/main/poster"), 404, "poster_missing")
    put_poster(data, "main", b"JPEG")
    await admin.patch("/api/streams/main", json={"visibility": "public"})
    assert (await api.get("/api/streams/main/poster")).content == b"JPEG"


async def test_a_deleted_stream_leaves_no_poster(admin: httpx.AsyncClient, data: DataDirectory) -> None:
    put_poster(data, "main", b"JPEG")
    assert (await admin.delete("/api/streams/main")).status_code == 204
    assert list(data.posters.iterdir()) == []


def put_poster(data: DataDirectory, name: str, picture: bytes, age_s: float = 0) -> None:
    data.posters.mkdir(exist_ok=True)
    path = data.posters / f"{name}.jpg"
    path.write_bytes(picture)
    os.utime(path, (time.time(), time.time() - age_s))
