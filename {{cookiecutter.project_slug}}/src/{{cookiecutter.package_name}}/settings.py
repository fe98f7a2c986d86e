"""What can be set without an edit of the code."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """The values that a pipeline is built with. Each field has a type and a default.
{%- if cookiecutter.command_line %}

    A value comes from the last of these that has it: the default; `{{ cookiecutter.project_slug }}.toml` in the working folder, or the
    file after `--settings`; the variable `{{ cookiecutter.package_name|upper }}_SET_MODEL`; the option `--set model=VALUE`.
    A `pydantic.SecretStr` is never shown.
{%- endif %}

    A stage gets a value from `build_pipeline`: `worker_args={"model": settings.model}`.
    """

    # model: Path = Path("model.bin")
    # batch_size: int = 32
