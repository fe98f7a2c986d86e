"""R1: the source is read ahead, so an item must stay valid when the next one is asked for. Here is the way out."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
ROWS = [("a", 1), ("a", 2), ("b", 3), ("c", 4), ("c", 5)]


class Sum(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        key, rows = item
        return key, sum(number for _, number in rows)


class Text(BaseWorker[Any, str]):
    def process_item(self, item: Any) -> str:
        return Path(item).read_text() if isinstance(item, Path) else bytes(item).decode()


def test_r1_the_limit_and_the_way_out_are_told_where_a_source_is_handed_over() -> None:
    told = str(PipelineManager.run.__doc__)
    for word in "read ahead", "groupby", "buffer", "TemporaryDirectory", "make a copy, or a list":
        assert word in told


@both_modes
def test_r1_groups_are_made_lists(serial: bool) -> None:
    groups = ((key, list(rows)) for key, rows in itertools.groupby(ROWS, key=lambda row: row[0]))
    assert list(PipelineManager().add_worker(Sum).run(groups, serial=serial)) == [("a", 3), ("b", 3), ("c", 9)]


@both_modes
def test_r1_what_lies_in_a_buffer_is_copied(serial: bool) -> None:
    def source() -> Iterator[bytes]:
        buffer = bytearray(1)
        for letter in b"abc":
            buffer[0] = letter
            yield bytes(buffer)

    assert list(PipelineManager().add_worker(Text, workers=2).run(source(), serial=serial)) == ["a", "b", "c"]


@both_modes
def test_r1_a_folder_stays_as_long_as_the_loop_over_the_results(serial: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def source() -> Iterator[Path]:
            for number in range(5):
                path = Path(folder, str(number))
                path.write_text(f"text {number}")
                yield path

        results = list(PipelineManager().add_worker(Text, workers=2).run(source(), serial=serial))
    assert results == [f"text {number}" for number in range(5)]


def test_r1_the_plain_loop_reads_nothing_ahead() -> None:
    groups = itertools.groupby(ROWS, key=lambda row: row[0])
    assert list(PipelineManager().add_worker(Sum).run(groups, serial=True)) == [("a", 3), ("b", 3), ("c", 9)]
