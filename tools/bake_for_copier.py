"""What copier calls: has cookiecutter render the project, and lays its files into the folder that copier works in.

python bake_for_copier.py TEMPLATE ANSWERS_AS_JSON

So there is one template for both tools, with one set of hooks. What is the user's stays as it is, once it is there.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import yaml
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

POOL = re.compile("SubTaskPoolWorker|sub_workers")


def problem(made: Path, here: Path, users: list[Path]) -> str:
    """Why an update cannot give a project that was made before these answers."""
    for core in here.glob("src/*/pipeline_core"):
        made_core = made / core.relative_to(here)
        pool = core / "sub_task_pool.py"
        pooled = [file.relative_to(here).as_posix() for file in sorted(users) if POOL.search(file.read_text("utf-8"))]
        if not made_core.is_dir():
            return "package_name: an update cannot rename the package; rename it in your editor, in .copier-answers.yml too"
        if pool.exists() and not (made_core / pool.name).exists() and pooled:
            return f"sub_task_pool: {', '.join(pooled)} use the pool; make the stage a BaseWorker and commit that, then update"
    return ""


def main() -> None:
    template, here = Path(sys.argv[1]), Path.cwd()
    answers = {name: value for name, value in json.loads(sys.argv[2]).items() if not name.startswith("_")}
    for name, value in answers.items():
        if isinstance(value, str) and any("{" + mark in value for mark in "{%#"):
            sys.exit(f"{name}: {value!r} holds template code; put a space behind each opening brace")
    settings = yaml.safe_load((template / "copier.yml").read_text(encoding="utf-8"))
    own = [path for pattern in settings["_skip_if_exists"] for path in here.glob(pattern)]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(json.dumps({"cookiecutters_dir": folder, "replay_dir": folder}), encoding="utf-8")
        options = {"no_input": True, "extra_context": answers, "output_dir": folder, "config_file": str(config)}
        try:
            made = Path(cookiecutter(str(template), **options))
        except FailedHookException:
            sys.exit(1)
        users = [file for path in own for file in ([path] if path.is_file() else path.rglob("*.py"))]
        if why := problem(made, here, users):
            sys.exit(why)
        for file in [path for path in made.rglob("*") if path.is_file()]:
            target = here / file.relative_to(made)
            if target not in own and not {*own} & {*target.parents}:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


if __name__ == "__main__":
    main()
