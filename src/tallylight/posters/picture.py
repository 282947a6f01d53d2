"""A keyframe as JPEG. Decodes bytes that strangers sent: only for a process that may crash."""

import io
from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext

WIDTH = 640
# A phone held upright sends 9:16, which is 1138 lines; anything taller is no picture for a list.
MAX_HEIGHT = 1280
# 8K with a margin for other shapes. A header may claim more, and a decoder would believe it.
MAX_PIXELS = 8192 * 5120
# FFmpeg's scale: 2 is the best, 31 the worst. At 5 a 640x360 poster has about 30 kB.
_JPEG_QUALITY = 5


class PictureError(Exception):
    """There is no picture in this; the text says why."""


def poster(mp4: bytes) -> bytes:
    """The first keyframe of an MP4 as JPEG, `WIDTH` wide.

    Raises:
        PictureError: It holds no video keyframe, or one too large.
        av.FFmpegError: It cannot be decoded.
    """
    frame = _first_keyframe(mp4)
    height = min(MAX_HEIGHT, max(2, round(WIDTH * frame.height / frame.width / 2) * 2))
    small = frame.reformat(WIDTH, height, "yuvj420p", dst_color_range="JPEG", interpolation="AREA")
    encoder = VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = WIDTH, height, "yuvj420p", Fraction(1, 25)
    encoder.options = {"qmin": str(_JPEG_QUALITY), "qmax": str(_JPEG_QUALITY)}
    small.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(small), *encoder.encode(None)])


def _first_keyframe(mp4: bytes) -> av.VideoFrame:
    with av.open(io.BytesIO(mp4), "r", format="mp4") as container:
        if not container.streams.video:
            raise PictureError("no video")
        stream = container.streams.video[0]
        if not 0 < stream.codec_context.width * stream.codec_context.height <= MAX_PIXELS:
            raise PictureError(f"a picture of {stream.codec_context.width}x{stream.codec_context.height}")
        # Threads would hold the picture back until more have come.
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        for packet in container.demux(stream):
            if packet.is_keyframe:
                for frame in [*stream.codec_context.decode(packet), *stream.codec_context.decode(None)]:
                    return frame
    raise PictureError("no keyframe in the first chunk")
