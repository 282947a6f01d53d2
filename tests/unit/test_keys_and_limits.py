"""Keys, and how many wrong ones an address may try."""

from hypothesis import given
from hypothesis import strategies as st

from tallylight.streams.keys import hash_key, key_matches, new_key
from tallylight.streams.wrong_key_limit import MAX_ADDRESSES, TRIES, WrongKeyLimit


def test_keys_are_long_different_and_safe_in_a_url() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) == 32 and key.isalnum() for key in keys)


def test_a_key_matches_only_its_own_hash() -> None:
    key = new_key()
    assert key_matches(key, hash_key(key))
    assert not key_matches(key + "x", hash_key(key))
    assert not key_matches("", hash_key(key))


def test_ten_tries_then_one_each_six_seconds() -> None:
    limit = WrongKeyLimit()
    assert [limit.take("192.0.2.1", 0.0) for _ in range(TRIES + 1)] == [True] * TRIES + [False]
    assert not limit.take("192.0.2.1", 5.9)
    assert limit.take("192.0.2.1", 6.1)
    assert not limit.take("192.0.2.1", 6.2)


def test_neighbours_do_not_share_a_limit_but_one_subscriber_does() -> None:
    limit = WrongKeyLimit()
    for _ in range(TRIES):
        limit.take("2001:db8::1", 0.0)
    assert not limit.take("2001:db8::ffff", 0.0), "the same /64"
    assert limit.take("2001:db8:0:1::1", 0.0)
    assert limit.take("192.0.2.2", 0.0)


def test_memory_is_bounded() -> None:
    limit = WrongKeyLimit()
    for number in range(MAX_ADDRESSES + 100):
        limit.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(limit._buckets._buckets) == MAX_ADDRESSES


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=80))
def test_never_more_than_ten_in_any_minute_after_the_burst(gaps_s: list[float]) -> None:
    limit = WrongKeyLimit()
    now_s = 0.0
    allowed_at_s = []
    for gap_s in gaps_s:
        now_s += gap_s
        if limit.take("192.0.2.1", now_s):
            allowed_at_s.append(now_s)
    for start_s in allowed_at_s:
        assert sum(start_s <= at_s < start_s + 60 for at_s in allowed_at_s) <= 2 * TRIES
