"""The whole flow. Change these tests with your stages: what goes in, and what comes out."""

from {{ cookiecutter.package_name }}.pipeline import build_pipeline

ITEMS = [{"id": number} for number in range(100)]


def test_every_item_comes_out_once_and_in_order() -> None:
    assert list(build_pipeline().run(ITEMS)) == ITEMS


def test_threads_give_what_the_plain_loop_gives() -> None:
    assert list(build_pipeline().run(ITEMS)) == list(build_pipeline().run(ITEMS, serial=True))
