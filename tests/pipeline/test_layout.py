"""Names of folders and files: what is written is read back, and nothing else is taken for a landing's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.pipeline.layout import TOGETHER, LandedFile, Segment, ends, live, merged

OFFSETS = st.integers(0, 10**12)


@given(
    st.text("ab01.-_", min_size=1),
    st.text("aZ019-_", min_size=22, max_size=22),
    st.dictionaries(st.integers(0, 99), st.tuples(OFFSETS, OFFSETS), min_size=1, max_size=TOGETHER),
    st.sampled_from(["batch", "stream"]),
)
def test_a_landed_file_s_name_is_read_back(
    topic: str, ident: str, offsets: dict[int, tuple[int, int]], by: str
) -> None:
    file = LandedFile(topic, ident, offsets, by)
    assert LandedFile.parse(file.name) == file


def test_hdfs_takes_the_longest_name() -> None:
    last = 10**15
    offsets = dict.fromkeys(range(10_000, 10_000 + TOGETHER), (last - 1, last))
    assert len(LandedFile("events", "x" * 22, offsets, "compaction").name) <= 255  # `max-component-length`


@pytest.mark.parametrize(
    "name", ["part-00000.snappy.parquet", "_SUCCESS", "events.id.0.0-5.batch.crc", "e.id.0.0-5_.batch.parquet", ""]
)
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
    names = [LandedFile("events", ident, offsets, "stream").name for ident, offsets in LANDED]
    assert ends([*names, "notes.txt"], "this") == {0: 9, 1: 4}
    assert ends([], "this") == {}


def test_compacted_files_are_named_for_all_that_they_hold() -> None:
    names = [LandedFile("events", ident, offsets, "stream").name for ident, offsets in LANDED]
    names.append(LandedFile("events", "this", {TOGETHER: (7, 8)}, "batch").name)
    become = merged(names)
    assert {key: file.offsets for key, file in become.items()} == {
        ("this", 0): {0: (0, 9), 1: (0, 4)},
        ("this", 1): {TOGETHER: (7, 8)},
        ("other", 0): {0: (0, 70)},
    }
    assert ends((file.name for file in become.values()), "this") == ends(names, "this")


LANDED = [("this", {0: (0, 5)}), ("this", {0: (5, 9), 1: (2, 4)}), ("this", {1: (0, 2)}), ("other", {0: (0, 70)})]
