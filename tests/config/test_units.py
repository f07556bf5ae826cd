from datetime import timedelta

import pytest

from kms.config.problems import ValueFault
from kms.config.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("30 s", 30),
        ("30 minutes", 1800),
        ("15m", 900),
        ("4h", 4 * 3600),
        ("2 days", 2 * 86400),
        ("2 h 30 min", 9000),
        ("1h30m", 5400),
        ("1 Week", 7 * 86400),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "abc", "5 months", "-5", "1:30", "1.5 h", "5 5", "٣", "h", "9" * 13])
def test_what_could_be_misunderstood_is_no_duration(text: str) -> None:
    with pytest.raises(ValueFault, match="is no duration"):
        parse_duration(text)


def test_a_duration_ends_at_ten_years() -> None:
    assert parse_duration("3650 days") == timedelta(days=3650)
    with pytest.raises(ValueFault, match="longer than ten years"):
        parse_duration("3651 days")
    with pytest.raises(ValueFault, match="longer than ten years"):
        parse_duration("999999999999")


@pytest.mark.parametrize(
    ("text", "octets"),
    [("0", 0), ("1048576", 1048576), ("512 KB", 512 * 1024), ("20 MB", 20 * 1024**2), ("2gb", 2 * 1024**3)],
)
def test_sizes_are_read_as_people_write_them(text: str, octets: int) -> None:
    assert parse_size(text) == octets


@pytest.mark.parametrize("text", ["", "5 M", "MB", "-1", "1.5 MB", "1 MB 2 KB", "9" * 31])
def test_what_could_be_misunderstood_is_no_size(text: str) -> None:
    with pytest.raises(ValueFault, match="is no size"):
        parse_size(text)


def test_a_size_beyond_counting_is_refused() -> None:
    with pytest.raises(ValueFault, match="too large"):
        parse_size("99999999 TB")
