"""The test card can be read back: after compression, after scaling, and it says no when it cannot."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from support.publishers import write_clip
from support.seen import SAMPLE_RATE_HZ, Sound, flash_onsets_s, lip_sync_ms, luma_of, media_time_s, read_frame
from tallylight.demo import testcard
from tallylight.demo.encoding import CardSettings
from tallylight.demo.pace import Backoff, FramePace

# A frame number of today: its high bits are not all zero.
FIRST_FRAME = 53_867_014_620
LOW_BITRATE = CardSettings(width=1280, height=720, bitrate_bps=300_000)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of 720p at 300 kb/s: worse than any publisher of ours."""
    return write_clip(tmp_path_factory.mktemp("clip") / "card.flv", LOW_BITRATE, 4, FIRST_FRAME)


def test_counter_survives_300_kbit_and_scaling_to_360p(clip: Path) -> None:
    """Every frame of a 300 kb/s clip is read right at 720p and after scaling to 360p."""
    full, scaled = [], []
    with av.open(str(clip), "r") as container:
        for frame in container.decode(video=0):
            full.append(testcard.read_counter(luma_of(frame)))
            scaled.append(testcard.read_counter(luma_of(frame.reformat(width=640, height=360))))
    expected = list(range(FIRST_FRAME, FIRST_FRAME + 120))
    assert full == expected
    assert scaled == expected


def test_flash_and_beep_are_found_within_5_ms(clip: Path) -> None:
    """Decoded flashes and AAC beeps of one clip coincide to 5 ms, once a second."""
    frames, sound = [], Sound()
    resampler = av.AudioResampler("s16", "mono", SAMPLE_RATE_HZ)
    with av.open(str(clip), "r") as container:
        for frame in container.decode(video=0, audio=0):
            if isinstance(frame, av.VideoFrame):
                frames.append(read_frame(frame, media_time_s(frame), 0.0))
            else:
                assert isinstance(frame, av.AudioFrame)
                media_s = media_time_s(frame)
                for mono in resampler.resample(frame):
                    sound.add(media_s, mono.to_ndarray()[0])
    offsets = lip_sync_ms(frames, sound)
    assert len(flash_onsets_s(frames)) == 3  # the first second's began with the clip
    assert len(offsets) == 3
    assert max(abs(offset) for offset in offsets) < 5


@pytest.mark.parametrize("skew_ms", [-120, 90, 250])
def test_a_planted_skew_is_measured(skew_ms: int) -> None:
    """Sound shifted by a known time against the picture is reported as that time."""
    frames = []
    for number in range(FIRST_FRAME, FIRST_FRAME + 120):
        picture = av.VideoFrame.from_ndarray(testcard.draw(number, 320, 180), format="yuv420p")
        frames.append(read_frame(picture, (number - FIRST_FRAME) / 30, 0.0))
    first_sample = FIRST_FRAME * SAMPLE_RATE_HZ // 30
    sound = Sound()
    sound.add(skew_ms / 1000, testcard.beep(first_sample, 4 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ))
    offsets = lip_sync_ms(frames, sound)
    assert len(offsets) == 3
    assert all(abs(offset - skew_ms) < 5 for offset in offsets)


@pytest.mark.parametrize("lead_samples", [0, 1, 777, 4801, 47_999])
def test_beep_onsets_are_exact_to_a_millisecond(lead_samples: int) -> None:
    """Onsets are found wherever in the recording they lie, under noise as loud as a tenth of the tone."""
    noise = np.random.default_rng(7).normal(0, 0.025 * 32767, 3 * SAMPLE_RATE_HZ)
    pcm = testcard.beep(SAMPLE_RATE_HZ - lead_samples, 3 * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ) + noise
    onsets = testcard.find_beeps(pcm, SAMPLE_RATE_HZ)
    expected = [lead_samples / SAMPLE_RATE_HZ + second for second in range(4)]
    inside = [onset for onset in expected if 0.005 < onset < 2.9]
    assert len([onset for onset in onsets if onset > 0.005]) == len(inside)
    assert all(min(abs(onset - want) for onset in onsets) < 0.001 for want in inside)


def test_silence_has_no_beeps() -> None:
    assert testcard.find_beeps(np.zeros(SAMPLE_RATE_HZ, dtype=np.int16), SAMPLE_RATE_HZ) == []
    assert testcard.find_beeps(np.zeros(0, dtype=np.int16), SAMPLE_RATE_HZ) == []


def test_a_picture_without_a_strip_has_no_counter() -> None:
    """Black, grey, noise and another picture are None, never a number."""
    rng = np.random.default_rng(7)
    assert testcard.read_counter(np.full((360, 640), 16, dtype=np.uint8)) is None
    assert testcard.read_counter(np.full((360, 640), 128, dtype=np.uint8)) is None
    assert testcard.read_counter(rng.integers(0, 255, (360, 640), dtype=np.uint8)) is None


def test_a_single_wrong_block_is_noticed() -> None:
    """The checksum catches each block inverted alone."""
    luma = testcard.draw(FIRST_FRAME, 960, 540)[:540]
    area = testcard.strip_area(960, 540)
    for index in range(testcard.STRIP_ROWS * testcard.STRIP_COLUMNS):
        row, column = divmod(index, testcard.STRIP_COLUMNS)
        top, left = area.top + row * area.height // 2, column * 40
        damaged = luma.copy()
        damaged[top : top + area.height // 2, left : left + 40] ^= 0xFF
        assert testcard.read_counter(damaged) is None


@pytest.mark.parametrize(
    ("width", "height"), [(320, 180), (640, 360), (854, 480), (1280, 720), (1920, 1080), (360, 640)]
)
def test_every_size_reads_back(width: int, height: int) -> None:
    for number in (0, FIRST_FRAME, testcard.COUNTER_LIMIT - 1):
        assert testcard.read_counter(testcard.draw(number, width, height)[:height]) == number


@pytest.mark.parametrize(("width", "height"), [(319, 180), (640, 362), (160, 90)])
def test_sizes_that_cannot_carry_the_strip_are_refused(width: int, height: int) -> None:
    with pytest.raises(ValueError, match="must be even"):
        testcard.draw(0, width, height)


def test_flash_lasts_a_tenth_of_each_second() -> None:
    flashes = [testcard.is_flash(testcard.draw(number, 320, 180)[:180]) for number in range(60)]
    assert [index for index, flash in enumerate(flashes) if flash] == [0, 1, 2, 30, 31, 32]


def test_pace_drops_frames_instead_of_lagging() -> None:
    """After a hold-up of half a second the newest frame is next, and the missed ones are counted."""
    pace = FramePace(frame_rate=30)
    assert pace.take(100.0) == 3000
    assert pace.take(100.01) is None
    assert pace.wait_s(100.01) == pytest.approx(1 / 30 - 0.01)
    assert pace.take(100.04) == 3001
    assert pace.take(100.5) == 3015
    assert pace.dropped == 13


def test_backoff_is_bounded_and_starts_over() -> None:
    backoff = Backoff()
    assert [backoff.next_s() for _ in range(5)] == [0.25, 0.5, 1.0, 2.0, 2.0]
    backoff.reset()
    assert backoff.next_s() == 0.25
