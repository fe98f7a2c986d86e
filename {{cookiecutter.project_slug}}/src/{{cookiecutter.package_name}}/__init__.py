"""{{ cookiecutter.project_slug }}: your stages in `stages`, their order in `pipeline`, the runtime in `pipeline_core`."""
