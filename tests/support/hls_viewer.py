"""An HLS client that keeps everything: playlist history by blocking reload, init segments and parts."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from io import BytesIO
from urllib.parse import urljoin

import av
import httpx

from support.hls_rules import History
from support.playlist import MediaPlaylist, Segment, parse_media, parse_multivariant
from support.seen import SAMPLE_RATE_HZ, SeenFrame, Sound, media_time_s, read_frame
from support.waiting import wait_until

# While nothing is on air the playlist may be gone; ask again this often.
_RETRY_S = 0.1


@dataclass
class HlsRecorder:
    """Follows one stream's media playlist from now until the context ends."""

    http: httpx.AsyncClient
    stream: str = "main"
    token: str | None = None
    playlists: list[MediaPlaylist] = field(default_factory=list)
    media: dict[str, bytes] = field(default_factory=dict)
    refusals: list[int] = field(default_factory=list)
    media_url: str = ""

    async def __aenter__(self) -> HlsRecorder:
        self.media_url = await wait_until(
            lambda: media_playlist_url(self.http, self.stream, self.token),
            10,
            "a multivariant playlist",
            (httpx.HTTPError, IndexError),
        )
        self._task = asyncio.create_task(self._follow())
        await wait_until(lambda: self.playlists, 10, "the first media playlist")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def history(self) -> History:
        """What was seen so far; URIs of parts and init segments are as the playlist names them."""
        return History(list(self.playlists), dict(self.media))

    async def wait_decodable(self, count: int, timeout_s: float = 30) -> None:
        """Waits until this many segments in a row were recorded whole, so that they can be decoded."""
        await wait_until(
            lambda: len(decodable_segments(self.history(), count)) == count,
            timeout_s,
            f"{count} segments recorded whole",
        )

    async def wait_segments(self, count: int, timeout_s: float = 30) -> None:
        """Waits until this many complete segments have been seen."""
        await wait_until(
            lambda: sum(segment.complete for segment in self.history().segments()) >= count,
            timeout_s,
            f"{count} segments",
        )

    async def _follow(self) -> None:
        while True:
            try:
                await self._step()
            except httpx.TransportError:
                await asyncio.sleep(_RETRY_S)

    async def _step(self) -> None:
        parameters = {}
        if self.playlists and not self.playlists[-1].ended:
            number, part = self.playlists[-1].next_part()
            parameters = {"_HLS_msn": number, "_HLS_part": part}
        # The address has a query of its own: the viewer's session.
        answer = await self.http.get(httpx.URL(self.media_url).copy_merge_params(parameters))
        if answer.status_code != httpx.codes.OK:
            self.refusals.append(answer.status_code)
            await asyncio.sleep(_RETRY_S)
            return
        playlist = parse_media(answer.text)
        if self.playlists and playlist == self.playlists[-1]:
            await asyncio.sleep(_RETRY_S)
            return
        self.playlists.append(playlist)
        # Only the newest segments: older parts were fetched when they were new.
        uris = [part.uri for segment in playlist.segments[-3:] for part in segment.parts if not part.gap]
        inits = [segment.init_uri for segment in playlist.segments[-3:] if segment.init_uri]
        for uri in dict.fromkeys(inits + uris):
            if uri not in self.media:
                media = await self.http.get(urljoin(self.media_url, uri))
                if media.status_code == httpx.codes.OK:
                    self.media[uri] = media.content


async def media_playlist_url(http: httpx.AsyncClient, stream: str = "main", token: str | None = None) -> str:
    """URL of the first variant's media playlist, which is one viewer's own."""
    answer = await http.get(f"/hls/{stream}/index.m3u8", params={"token": token} if token else None)
    answer.raise_for_status()
    return urljoin(str(answer.url), parse_multivariant(answer.text)[0].uri)


def decodable_segments(history: History, count: int) -> list[Segment]:
    """The newest complete segments, at most `count`, that follow each other and whose media is all there.

    Segments that were complete when the history began are left out: they may be of an earlier publication.
    """
    chosen: list[Segment] = []
    first, _ = history.playlists[0].next_part()
    for segment in reversed(
        [segment for segment in history.segments() if segment.complete and segment.number >= first]
    ):
        recorded = segment.parts and all(part.uri in history.media for part in segment.parts)
        if len(chosen) == count or not recorded:
            break
        chosen.insert(0, segment)
        if segment.discontinuity:
            break
    return chosen


def decode(history: History, segments: int) -> tuple[list[SeenFrame], Sound]:
    """Decodes the newest segments as a player would: init segment, then the parts in order."""
    chosen = decodable_segments(history, segments)
    assert len(chosen) == segments, f"{len(chosen)} segments can be decoded"
    init = history.media[str(chosen[0].init_uri)]
    data = init + b"".join(history.media[part.uri] for segment in chosen for part in segment.parts)
    frames, sound = [], Sound()
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    with av.open(BytesIO(data), "r") as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                frames.append(read_frame(frame, media_time_s(frame), 0.0))
            elif isinstance(frame, av.AudioFrame):
                media_s = media_time_s(frame)
                for mono in resampler.resample(frame):
                    sound.add(media_s, mono.to_ndarray()[0])
    return frames, sound
