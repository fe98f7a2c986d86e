"""{{ cookiecutter.project_slug }}: your stages in `stages`, their order in `pipeline`, the runtime in `pipeline_core`."""
{%- if cookiecutter.scale_out == 'ray' %}

from .pipeline_core.crews import ENGINES

ENGINES["ray"] = f"{__name__}.ray_crew"
{%- endif %}
