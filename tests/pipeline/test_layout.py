"""Names of folders and files: what is written is read back, and nothing else is taken for a landing's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.pipeline.layout import LandedFile, Segment, ends, live


@given(
    st.text("abc.-_", min_size=1),
    st.text("abcXYZ-_", min_size=22, max_size=22),
    st.integers(0, 99),
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.sampled_from(["batch", "stream"]),
)
def test_a_landed_file_s_name_is_read_back(
    topic: str, ident: str, partition: int, start: int, end: int, by: str
) -> None:
    file = LandedFile(topic, ident, partition, start, end, by)
    assert LandedFile.parse(file.name) == file


@pytest.mark.parametrize("name", ["part-00000.snappy.parquet", "_SUCCESS", "events.id.0.0-5.batch.crc", ""])
def test_other_names_are_not_a_landing_s(name: str) -> None:
    assert LandedFile.parse(name) is None


@given(st.dates().map(str), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_segment_s_folder_is_read_back(day: str, number: int, generation: int) -> None:
    segment = Segment("purchases", day, number, generation)
    assert Segment.parse(segment.folder) == segment


@pytest.mark.parametrize("folder", ["purchases", "purchases/day=2026-01-31/segment=0", "a/day=x/segment=0/0", ""])
def test_other_folders_are_no_segment_s(folder: str) -> None:
    assert Segment.parse(folder) is None


def test_the_highest_generation_of_each_segment_counts() -> None:
    first, second = Segment("guilds", "2026-01-31", 0), Segment("guilds", "2026-01-31", 1)
    newer = first.next_generation.next_generation
    assert live([newer, second, first, first.next_generation]) == [newer, second]
    assert newer.next_segment == second


def test_the_files_names_say_how_far_each_partition_of_a_topic_has_landed() -> None:
    names = [LandedFile("events", ident, p, start, end, "stream").name for ident, p, start, end in LANDED]
    assert ends([*names, "notes.txt"], "this") == {0: 9, 1: 4}
    assert ends([], "this") == {}


LANDED = [("this", 0, 0, 5), ("this", 0, 5, 9), ("this", 1, 0, 4), ("other", 0, 0, 70)]
