"""`python -m {{ cookiecutter.package_name }}` is the command {{ cookiecutter.project_slug }}."""

from .cli import main

if __name__ == "__main__":
    main()
