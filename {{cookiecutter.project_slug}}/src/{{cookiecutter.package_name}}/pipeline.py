{% from 'stages.jinja' import added, natural, worker with context -%}
{% set stages = cookiecutter.__stages.split(',') -%}
{% set order = namespace(keys=[]) -%}
{% for stage in stages %}{% set order.keys = order.keys + [(natural(stage), stage)] %}{% endfor -%}
"""The whole flow on one page: which stages there are, in which order, and with how many workers."""

from collections.abc import Callable
from typing import Literal

from .pipeline_core import DeadLetter, PipelineManager
from .settings import Settings
{% for _, stage in order.keys|sort -%}
from .stages.{{ stage }} import {{ worker(stage) }}
{% endfor %}

def build_pipeline(
    settings: Settings = Settings(),
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    """The pipeline, ready for one `run(source)`.

    A stage that waits (for a network, a disk) gets faster with more `workers`; one that does better on many items at
    once takes `batch_size`, and defines `process_batch`. What else can be said of a stage: `retries`, `timeout`,
    `rate_limit`, `when` and others, in the README.

    `queue_size` items may wait before each stage. With many, the threads take turns less often, which speeds up stages
    that take microseconds; if your items are large, as images are, give it a few.
    """
    pipeline = PipelineManager(
        name="{{ cookiecutter.project_slug }}",
        queue_size=250,
        on_error=on_error,
        on_dead_letter=on_dead_letter,
    )
{%- for stage in stages %}
    {{ added(stage, pool=stage == cookiecutter.__pool_stage)|indent }}
{%- endfor %}
    return pipeline
