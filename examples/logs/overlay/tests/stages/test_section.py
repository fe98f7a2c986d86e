"""The stage section."""

from pathlib import Path

from my_pipeline.stages.section import SectionWorker


def test_adds_the_section_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "pages.csv").write_text('page,section\n/a,first\n"/b,c",second\n')
    worker = SectionWorker(pages=tmp_path / "pages.csv")
    worker.setup()
    found = [worker.process_item({"path": path})["section"] for path in ("/a", "/b,c", "/unknown")]
    assert found == ["first", "second", "none"]
