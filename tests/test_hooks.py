"""The hooks, loaded as modules and tested function by function, and refusals as a user sees them (T3, T4)."""

import importlib.util
import json
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context

from baking import ROOT, environment


def answers(**given: str) -> dict[str, str]:
    context = generate_context(str(ROOT / "cookiecutter.json"), extra_context=given)
    config: dict[str, str] = prompt_for_config(context, no_input=True)
    return config


def hook(name: str, folder: Path, **given: str) -> ModuleType:
    """The hook as rendered for these answers."""
    context = {"cookiecutter": answers(**given)}
    template = create_env_with_context(context).from_string((ROOT / "hooks" / f"{name}.py").read_text(encoding="utf-8"))
    file = folder / f"{name}.py"
    file.write_text(template.render(**context), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def problems(folder: Path, **given: str) -> list[str]:
    module = hook("pre_gen_project", folder, **given)
    found: list[str] = module.problems(module.ANSWERS, module.UNRENDERED)
    return found


def bake_by_command(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    command = ["cookiecutter", str(ROOT), "--no-input", *given]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)


def test_t2_the_defaults_are_good(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("typed", "stage", "class_name"),
    [
        ("Quality control", "quality_control", "QualityControl"),
        ("model-inference", "model_inference", "ModelInference"),
        ("  Pre  processing ", "pre_processing", "PreProcessing"),
        ("Qualität", "qualitat", "Qualitat"),
        ("R&D v2", "r_d_v2", "RDV2"),
        ("match", "match", "Match"),
        ("my stage name", "my_stage_name", "MyStageName"),
    ],
)
def test_t3_names_are_typed_as_people_write(typed: str, stage: str, class_name: str, tmp_path: Path) -> None:
    assert problems(tmp_path, stage_names=typed) == []
    module = hook("post_gen_project", tmp_path, stage_names=typed)
    assert module.stages(module.ANSWERS) == [stage]
    assert module.class_name(stage) == class_name


@pytest.mark.parametrize(
    "name",
    [
        "class",
        "2fast",
        "🙂",
        "pipeline",
        "cli",
        "stages",
        "pipeline core",
        "base",
        "sub task pool",
        "observers",
        "json logs",
        "my pipeline",
        "con",
        "source",
        "w" * 31,
        "stage name",
    ],
)
def test_t3_a_name_that_cannot_be_is_refused_with_prompt_value_and_mend(name: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, stage_names=name)
    assert problem.startswith("stage_names: ")
    assert repr(name) in problem
    assert "; " in problem or ", " in problem


@pytest.mark.parametrize("twice", ["a b, a-b", "x 1, x1", "load, Load"])
def test_t3_the_same_name_twice_is_refused(twice: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, stage_names=twice)
    assert "twice" in problem


def test_t2_up_to_32_stages(tmp_path: Path) -> None:
    names = [f"stage {number}" for number in range(33)]
    assert problems(tmp_path, stage_names=",".join(names[:32])) == []
    assert "32 at most" in problems(tmp_path, stage_names=",".join(names))[0]


@pytest.mark.parametrize(
    ("prompt", "value"),
    [
        ("project_name", " "),
        ("project_slug", "My Project"),
        ("project_slug", "../evil"),
        ("project_slug", "nul"),
        ("project_slug", "typer"),
        ("project_slug", "python"),
        ("package_name", "class"),
        ("package_name", "json"),
        ("package_name", "a.b"),
        ("package_name", "typer"),
        ("package_name", "build"),
        ("package_name", "test"),
        ("package_name", "opentelemetry"),
        ("package_name", "prometheus_client"),
        ("package_name", "con"),
        ("author_email", "no address"),
        ("repository_url", "git@github.com:ada/ships.git"),
        ("repository_url", "https://ada:secret@example.org/ships"),
        ("repository_url", 'https://example.org/") [x](y'),
        ("author_email", "Ada <ada@example.org>"),
        ("author_email", 'a"@b.org'),
        ("description", "x" * 201),
        ("description", "two\nlines"),
        ("description", "\u202eevil"),
        ("author_name", "null\0byte"),
        ("author_name", "\ud800"),
        ("author_name", "x" * 10_000),
        ("sub_task_stage", "elsewhere"),
        ("sub_task_stage", "🙂"),
    ],
)
def test_t4_a_bad_answer_is_refused_in_one_line(prompt: str, value: str, tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, **{prompt: value})
    assert problem.startswith(f"{prompt}: {repr(value.strip())[:50].rstrip(chr(39))}")
    assert re.search(r"(; |, )[a-z]", problem.removeprefix(prompt)), "the mend"
    assert "\n" not in problem
    assert len(problem) < 400


def test_t2_a_pool_of_processes_without_a_stage_is_refused_and_one_of_threads_is_none(tmp_path: Path) -> None:
    own = {"stage_names": "Load it, score"}
    (problem,) = problems(tmp_path, sub_task_pool="processes", **own)
    assert re.fullmatch(
        "sub_task_pool: 'processes' needs a stage; set sub_task_stage to one of load_it, score, .*", problem
    )
    assert problems(tmp_path, sub_task_pool="processes", sub_task_stage="Load it", **own) == []
    assert problems(tmp_path, sub_task_pool="threads", **own) == []
    assert [answers(sub_task_pool=pool, **own)["__pool"] for pool in ("threads", "none")] == ["none", "none"]


def test_t2_an_unused_stage_of_a_pool_does_no_harm(tmp_path: Path) -> None:
    assert problems(tmp_path, sub_task_pool="none", sub_task_stage="elsewhere") == []
    assert answers(sub_task_pool="none", sub_task_stage="elsewhere")["__pool_stage"] == ""


@pytest.mark.parametrize(("typed", "meant"), [("yes", True), ("no", False), ("False", False), ("1", True)])
def test_t2_yes_and_no_are_booleans(typed: str, meant: bool, tmp_path: Path) -> None:
    module = hook("pre_gen_project", tmp_path, command_line=typed)
    assert module.ANSWERS["command_line"] is meant
    assert f"command_line={'yes' if meant else 'no'}" in module.repeat_command(module.ANSWERS).split()


@pytest.mark.parametrize(("written", "meant"), [(0, False), (1, True), ("maybe", "maybe"), ("no", False)])
def test_t10_yes_and_no_mean_the_same_where_cookiecutter_hands_them_on_as_they_are(
    written: object, meant: object, tmp_path: Path
) -> None:
    """As version 2.2 does with the command line, and each version with a number in a configuration file."""
    context = generate_context(str(ROOT / "cookiecutter.json"))
    context["cookiecutter"]["command_line"] = written
    assert prompt_for_config(context, no_input=True)["command_line"] == meant
    module = hook("pre_gen_project", tmp_path)
    refused = module.problems(module.ANSWERS | {"command_line": meant}, {})
    says = "command_line: 'maybe' is neither yes nor no; write one of them"
    assert refused == ([says] if meant == "maybe" else [])


@pytest.mark.parametrize("switched", [{"command_line": "no"}, {"diagnosis": "table"}, {"sub_task_pool": "none"}])
def test_t3_names_of_a_project_stay_taken_whatever_it_has_today(switched: dict[str, str], tmp_path: Path) -> None:
    for name in ("cli", "profiling", "sub task pool", "json logs", "sinks"):
        (problem,) = problems(tmp_path, stage_names=name, **switched)
        assert "taken by the project itself" in problem
    (problem,) = problems(tmp_path, package_name="typer", **switched)
    assert "is the name of another module" in problem


@pytest.mark.parametrize(
    "typed",
    [
        "load, score,",
        ",load,, score , ,",
        "load; score",
        "load\uff0cscore",
        "load\r\nscore\n",
        '["load", "score"]',
        "load,\tscore ",
    ],
)
def test_t4_separators_too_many_or_of_another_kind_are_forgiven(typed: str, tmp_path: Path) -> None:
    assert problems(tmp_path, stage_names=typed) == []
    module = hook("pre_gen_project", tmp_path, stage_names=typed)
    assert module.ANSWERS["__stages"] == "load,score"
    again = shlex.split(module.repeat_command(module.ANSWERS))
    (names,) = (word.removeprefix("stage_names=") for word in again if word.startswith("stage_names="))
    assert answers(stage_names=names)["__stages"] == "load,score"


def test_t4_blanks_around_an_answer_are_forgiven(tmp_path: Path) -> None:
    typed = {"project_name": " Ships\n", "project_slug": "ships ", "package_name": " ships", "description": "\tText.\n"}
    typed |= {"author_name": "Ada\n", "author_email": " ada@example.org ", "sub_task_stage": " Post processing"}
    assert problems(tmp_path, **typed) == []
    meant = answers(**typed)
    assert {prompt: meant[prompt] for prompt in typed} == {prompt: answer.strip() for prompt, answer in typed.items()}


def test_t2_the_hook_knows_each_prompt_and_its_choices(tmp_path: Path) -> None:
    """They stand in it once more, since it is all that looks at the answers of a replay file."""
    asked = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    prompts = {prompt: answer for prompt, answer in asked.items() if not prompt.startswith("_")}
    module = hook("pre_gen_project", tmp_path)
    assert {prompt: [*choices] for prompt, choices in module.CHOICES.items()} == {
        prompt: choices for prompt, choices in prompts.items() if isinstance(choices, list)
    }
    assert {*module.YES_NO} == {prompt for prompt, answer in prompts.items() if isinstance(answer, bool)}
    assert {*module.TEXT} == {prompt for prompt, answer in prompts.items() if isinstance(answer, str)}
    for prompt in (*module.YES_NO, *module.TEXT):
        assert f"'{prompt}'" in asked["__typed"], f"{prompt} is not brought into order by __typed"


def test_t4_every_problem_is_told_at_once_and_nothing_stays(tmp_path: Path) -> None:
    done = bake_by_command(tmp_path, "stage_names=class, pre, pre, 2fast", "author_email=nobody", "description=a\tb")
    assert done.returncode != 0
    told = [
        line
        for line in done.stderr.splitlines()
        if line.startswith(("stage_names: ", "author_email: ", "description: "))
    ]
    assert len(told) == 5
    assert re.search(r"^    cookiecutter .* 'stage_names=class, pre, pre, 2fast' ", done.stderr, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("slug", ["../evil", "..", ".", "a/b", "/{0}/a/b", "", "a" * 300, "a\\b", "a."])
def test_t4_a_slug_that_is_no_folder_is_refused_and_leaves_nothing(slug: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    done = bake_by_command(folder, f"project_slug={slug.format(tmp_path)}")
    assert done.returncode != 0
    assert re.search(r"^project_slug: '.*; use up to 40 lower-case", done.stderr, re.MULTILINE), done.stderr
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["A very long name of a project that goes on and on", "3D pictures", "🙂", "  X  "])
def test_t2_what_follows_from_the_projects_name_is_good(name: str, tmp_path: Path) -> None:
    assert problems(tmp_path, project_name=name) == []


def test_t4_an_existing_project_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "my-pipeline" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert bake_by_command(tmp_path).returncode != 0
    assert [path.name for path in mine.parent.iterdir()] == ["mine.txt"]


def test_t10_baking_over_a_project_keeps_what_the_user_has_and_what_the_template_never_had(tmp_path: Path) -> None:
    assert bake_by_command(tmp_path).returncode == 0
    mine = ["src/my_pipeline/stages/pre_processing.py", "tests/stages/test_pre_processing.py"]
    mine += [".github/workflows/own.yml", ".venv/lib/__pycache__/a.pyc", ".model_cache/weights", ".github/ISSUE.md"]
    mine += ["src/other/__pycache__/a.pyc", "src/other/observers/trace.py", "src/other/pipeline_core/sub_task_pool.py"]
    for file in mine:
        (tmp_path / "my-pipeline" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my-pipeline" / file).write_text("mine")
    others = ["ci=none", "command_line=no", "diagnosis=table", "sub_task_pool=none"]
    assert bake_by_command(tmp_path, "-f", *others).returncode == 0
    assert [(tmp_path / "my-pipeline" / file).read_text() for file in mine] == ["mine"] * len(mine)


def test_t8_a_terminal_that_cannot_show_the_name_does_not_stop_a_bake(tmp_path: Path) -> None:
    command = ["cookiecutter", str(ROOT), "--no-input", "project_name=خط"]
    ascii_only = environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    subprocess.run(command, cwd=tmp_path, env=ascii_only, check=True, capture_output=True)


def test_t5_what_tools_leave_in_the_template_stays_there(checkout: Path, tmp_path: Path) -> None:
    source = checkout / "{{cookiecutter.project_slug}}"
    for folder in (".mypy_cache", "tests/__pycache__", "src/{{cookiecutter.package_name}}/pipeline_core/__pycache__"):
        (source / folder).mkdir(exist_ok=True)
        (source / folder / "left.pyc").write_bytes(b"\0")
    project = Path(cookiecutter(str(checkout), no_input=True, output_dir=str(tmp_path)))
    assert not list(project.rglob("left.pyc"))


def test_the_pool_stub_goes_to_the_pool_stage_alone(tmp_path: Path) -> None:
    module = hook("post_gen_project", tmp_path, stage_names="a stage name, b", sub_task_stage="a stage name")
    for folder, prefix in (("src/my_pipeline/stages", ""), ("tests/stages", "test_")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{prefix}stage_name.py").write_text("class StageNameWorker: 'stage_name'\n")
        (tmp_path / folder / f"{prefix}pool_stage_name.py").write_text("class PoolStageNameWorker: 'pool_stage_name'\n")
    (tmp_path / "src/my_pipeline/stages/__init__.py").write_text("raise ImportError")
    module.make_stages(tmp_path, module.ANSWERS, 0)
    stages = tmp_path / "src/my_pipeline/stages"
    assert {path.name: path.read_text() for path in stages.iterdir()} == {
        "__init__.py": '"""One file a stage: this is where you write."""\n',
        "a_stage_name.py": "class AStageNameWorker: 'a_stage_name'\n",
        "b.py": "class BWorker: 'b'\n",
    }


@pytest.mark.parametrize(
    ("folder", "is_a_tools"),
    [
        ("tmp0a_b1c2d/my-pipeline", True),  # As tempfile.mkdtemp names it.
        ("tmp0a_b1c2d/cookiecutter_output/my-pipeline", True),
        ("tmp.Ab1Cd2Ef3G/my-pipeline", False),  # As `mktemp -d` does.
        ("my-pipeline", False),
        ("mine/tmp0a_b1c2d", False),
        ("../elsewhere/tmp0a_b1c2d", False),
    ],
)
def test_t10_a_folder_that_a_tool_made_for_itself_is_told_from_a_users(
    folder: str, is_a_tools: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = hook("pre_gen_project", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert module.of_a_tool((tmp_path / folder).resolve()) is is_a_tools
