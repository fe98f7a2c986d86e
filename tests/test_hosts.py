"""Hosts (T10): whatever runs the template, and however it is called, it works or is refused by a line that says why."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cookiecutter.generate import generate_context
from cookiecutter.utils import create_env_with_context

from baking import BIN, ROOT, Bake, Baker, environment
from pythons import environment_of, pythons

NEEDS = "This template needs cookiecutter 2.2 or newer (for --replay: 2.3) under Python 3.10 or newer, and this is "
OLD_PYTHONS = ("2.7", "3.5", "3.6", "3.7", "3.8", "3.9")
COMMAND = str(BIN / "cookiecutter")

posix = pytest.mark.skipif(sys.platform == "win32", reason="environments of other hosts are made as on POSIX")


def call(
    *command: str, cwd: Path, check: bool = True, settings: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command without a terminal, from that folder."""
    env = environment(PWD=str(cwd), **settings or {})
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def tree(project: Path) -> dict[str, str]:
    return {
        path.relative_to(project).as_posix(): path.read_text("utf-8") for path in project.rglob("*") if path.is_file()
    }


def lines_that_repeat(said: str) -> list[str]:
    return [line.strip() for line in said.splitlines() if " --no-input " in line]


def host(python: str, version: str) -> str:
    """The command of that cookiecutter under that Python."""
    if python not in pythons(python):
        pytest.skip(f"there is no CPython {python} on this machine")
    name = f"hosts/cookiecutter {version} python {python}"
    folder = environment_of(pythons(python)[python], name, f"cookiecutter=={version}", "setuptools", constrained=False)
    return str(folder / "bin" / "cookiecutter")


@posix
@pytest.mark.slow  # It installs an old cookiecutter.
@pytest.mark.parametrize(
    ("python", "version"), [("3.9", "2.6.0"), ("3.9", "2.1.1"), ("3.11", "2.1.1"), ("3.11", "1.7.3")]
)
def test_t10_an_old_host_is_refused_in_one_line_and_leaves_nothing(python: str, version: str, tmp_path: Path) -> None:
    done = call(host(python, version), str(ROOT), "--no-input", cwd=tmp_path, check=False)
    assert done.returncode != 0
    first, *others = done.stderr.splitlines()
    assert first.startswith(f"{NEEDS}cookiecutter {version} under Python {python}.")
    assert [line for line in others if "pre_gen_project" not in line and "Hook script failed" not in line] == []
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.slow  # It installs an old cookiecutter.
@pytest.mark.parametrize("python", OLD_PYTHONS)
def test_t10_the_line_about_an_old_host_is_in_a_syntax_that_it_reads(python: str, tmp_path: Path) -> None:
    """The hook as cookiecutter 1.7 renders it, with private variables as they stand in the file."""
    if python not in pythons(*OLD_PYTHONS):
        pytest.skip(f"there is no CPython {python} on this machine")
    context = generate_context(str(ROOT / "cookiecutter.json"))
    text = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    hook = tmp_path / "hook.py"
    hook.write_text(create_env_with_context(context).from_string(text).render(**context), encoding="utf-8")
    installed = next(Path(host("3.11", "1.7.3")).parents[1].glob("lib/*/site-packages/cookiecutter"))
    shutil.copytree(installed, tmp_path / "cookiecutter")
    done = call(pythons(*OLD_PYTHONS)[python], str(hook), cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert re.fullmatch(re.escape(f"{NEEDS}cookiecutter 1.7.3 under Python {python}.") + r"\d+\.\n", done.stderr)


@posix
@pytest.mark.slow  # It installs an old cookiecutter.
@pytest.mark.parametrize(("python", "version"), [("3.11", "2.2.3"), ("3.10", "2.7.1")])
def test_t10_the_oldest_hosts_bake_what_the_newest_does(python: str, version: str, bake: Baker, tmp_path: Path) -> None:
    answers = {"stage_names": "Load it, score", "sub_task_stage": "score", "command_line": "no"}
    call(host(python, version), str(ROOT), "--no-input", *(f"{k}={v}" for k, v in answers.items()), cwd=tmp_path)
    assert tree(tmp_path / "my-pipeline") == tree(bake(**answers).path)


@posix
@pytest.mark.slow  # It installs an old cookiecutter.
def test_t10_a_cookiecutter_that_does_not_replay_says_so(tmp_path: Path) -> None:
    old = host("3.11", "2.2.3")
    call(old, str(ROOT), "--no-input", cwd=tmp_path)
    shutil.rmtree(tmp_path / "my-pipeline")
    done = call(old, str(ROOT), "--replay", cwd=tmp_path, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith(f"{NEEDS}cookiecutter 2.2.3 under Python 3.11.")
    assert list(tmp_path.iterdir()) == []


OTHERS = ["ci=none", "command_line=no", "diagnosis=table", "sub_task_pool=none", "metrics=prometheus"]


def test_t10_over_a_project_only_what_the_template_has_is_written(tmp_path: Path) -> None:
    """`-f`: the rest is the user's, what an earlier bake made and this one does not make, too."""
    call(COMMAND, str(ROOT), "--no-input", cwd=tmp_path)
    project = tmp_path / "my-pipeline"
    mine = ["src/my_pipeline/stages/pre_processing.py", "src/my_pipeline/stages/a_new_one.py", "tests/test_mine.py"]
    mine += ["tests/stages/test_pre_processing.py", ".model_cache/weights", ".mypy_cache/3.11/x.json", ".venv/x.pyc"]
    mine += ["__pycache__/demo.pyc", "src/my_pipeline/__pycache__/a.pyc", "tests/__pycache__/a.pyc", ".ruff_cache/x"]
    mine += ["src/other/pipeline_core/sub_task_pool.py", ".github/ISSUE.md", ".github/workflows/own.yml", "data.jsonl"]
    for file in mine:
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("mine")
    before = tree(project)
    call(COMMAND, str(ROOT), "--no-input", "-f", *OTHERS, cwd=tmp_path)
    after = tree(project)
    assert {file: after.get(file) for file in mine} == dict.fromkeys(mine, "mine")
    assert set(before) - set(after) == {"src/my_pipeline/pipeline_core/sub_task_pool.py"}  # Which no stage needs.
    call(COMMAND, str(ROOT), "--no-input", "-f", cwd=tmp_path)
    assert tree(project) == before | {file: after[file] for file in after if "metrics" in file or "instrument" in file}


@pytest.mark.parametrize("others", [[], OTHERS])
def test_t10_what_is_there_is_skipped_where_that_was_asked_for(others: list[str], tmp_path: Path) -> None:
    call(COMMAND, str(ROOT), "--no-input", cwd=tmp_path)
    project = tmp_path / "my-pipeline"
    before = {file: text + "\n# Mine.\n" for file, text in tree(project).items()}
    for file, text in before.items():
        (project / file).write_text(text, encoding="utf-8")
    call(COMMAND, str(ROOT), "--no-input", "-f", "-s", *others, cwd=tmp_path)
    after = tree(project)
    assert {file: after.get(file) for file in before} == before
    assert {Path(file).name for file in set(after) - set(before)} == (
        {"instruments.py", "prometheus_metrics.py", "test_prometheus_metrics.py"} if others else set()
    )


def test_t10_a_refusal_over_a_project_leaves_it_as_it_was(tmp_path: Path) -> None:
    call(COMMAND, str(ROOT), "--no-input", cwd=tmp_path)
    before = tree(tmp_path / "my-pipeline")
    assert call(COMMAND, str(ROOT), "--no-input", "-f", "stage_names=class", cwd=tmp_path, check=False).returncode
    assert tree(tmp_path / "my-pipeline") == before


def test_t10_a_bake_without_hooks_says_so_and_cannot_be_imported(bake: Baker, tmp_path: Path) -> None:
    call(COMMAND, str(ROOT), "--no-input", "--accept-hooks", "no", cwd=tmp_path)
    project = Bake(tmp_path / "my-pipeline", "my_pipeline")
    assert project.text("INCOMPLETE.md").startswith("# This project is incomplete\n")
    for module in ("my_pipeline.pipeline", "my_pipeline.stages.pre_processing", "my_pipeline.cli"):
        done = project.python("-c", f"import {module}", check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "ImportError: this project is incomplete: it was baked without the template's hooks (--accept-hooks no), "
            "which write its stages; see INCOMPLETE.md"
        )
    call(COMMAND, str(ROOT), "--no-input", "-f", cwd=tmp_path)
    assert tree(project.path) == tree(bake().path)


def without_privileges(*command: str) -> list[str]:
    """The command as a user for whom write bits count: root's do not."""
    if os.getuid():
        return [*command]
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]


@posix
def test_t10_a_read_only_template_gives_a_project_that_can_be_written(
    checkout: Path, bake: Baker, tmp_path: Path
) -> None:
    if not os.getuid() and not shutil.which("setpriv"):
        pytest.skip("root writes everywhere, and there is no setpriv to give that up")
    for path in (checkout, *checkout.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    work = tmp_path / "work"
    work.mkdir()
    try:
        for _ in range(2):
            call(*without_privileges(COMMAND, str(checkout), "--no-input", "-f"), cwd=work)
            assert tree(work / "my-pipeline") == tree(bake().path)
            assert all(path.stat().st_mode & stat.S_IWUSR for path in (work / "my-pipeline").rglob("*"))
    finally:
        for path in (checkout, *checkout.rglob("*")):
            path.chmod(path.stat().st_mode | stat.S_IWUSR)


GIT = {
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a@b.org"),
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def commit(repository: Path, *tags: str) -> None:
    commands = [["git", "init", "-q"], ["git", "add", "-A"], ["git", "commit", "-q", "-m", "x"]]
    for command in (*commands, *(["git", "tag", tag] for tag in tags)):
        call(*command, cwd=repository, settings=GIT)


def zipped(folder: Path, file: Path) -> Path:
    return Path(shutil.make_archive(str(file), "zip", folder.parent, folder.name))


@pytest.fixture
def places(checkout: Path, tmp_path: Path) -> dict[str, list[str]]:
    """The template in all places that cookiecutter takes one from, as a user names them."""
    spaced = tmp_path / "with spaces" / "and (more)"
    shutil.copytree(checkout, spaced)
    mono = tmp_path / "mono"
    shutil.copytree(checkout, mono / "templates" / "pipeline")
    one, all_ = zipped(checkout, tmp_path / "one"), zipped(mono, tmp_path / "all")
    commit(checkout, "v1")
    (checkout / "{{cookiecutter.project_slug}}" / "newer.txt").write_text("newer\n")
    commit(checkout, "v2")
    commit(mono)
    config = tmp_path / "config.yaml"
    settings = [f"cookiecutters_dir: {tmp_path / 'clones'}", f"replay_dir: {tmp_path / 'replay'}", "abbreviations:"]
    settings += [f"    here: {tmp_path}/{{0}}", f"    far: git+file://{tmp_path}/{{0}}"]
    config.write_text("\n".join(settings), encoding="utf-8")
    inner = ["--directory", "templates/pipeline"]
    return {
        "a folder": [str(spaced)],
        "a folder, relative": ["with spaces/and (more)"],
        "a folder in a folder": ["mono", *inner],
        "a tag": [f"git+file://{checkout}", "--checkout", "v1"],
        "a folder in a repository": [f"git+file://{mono}", *inner],
        "a zip": [str(one)],
        "a folder in a zip, relative": [all_.name, *inner],
        "an abbreviation": ["here:with spaces/and (more)"],
        "an abbreviation of a repository": ["far:checkout", "--checkout", "v1"],
        "an abbreviation of a folder in a repository": ["far:mono", *inner],
    }


@posix
@pytest.mark.slow  # Ten places, with three bakes and a refusal for each.
def test_t10_the_template_may_come_from_anywhere_and_the_line_that_repeats_a_bake_says_from_where(
    places: dict[str, list[str]], bake: Baker, tmp_path: Path
) -> None:
    expected = tree(bake(stage_names="Load it, score").path)
    for number, (place, named) in enumerate(places.items()):
        config = {"COOKIECUTTER_CONFIG": str(tmp_path / "config.yaml")}
        good, bad, again = (tmp_path / f"{number}-{kind}" for kind in ("good", "bad", "again"))
        output = ["--no-input", "-o", str(good), "stage_names=Load it, score"]
        done = call(COMMAND, *named, *output, cwd=tmp_path, settings=config)
        assert tree(good / "my-pipeline") == expected, place
        output = ["--no-input", "-o", str(bad), "stage_names=Load it, score", "author_email=nobody"]
        refused = call(COMMAND, *named, *output, cwd=tmp_path, check=False, settings=config)
        assert refused.returncode != 0
        assert list(bad.iterdir()) == []
        (line,), (refused_line,) = lines_that_repeat(done.stdout), lines_that_repeat(refused.stderr)
        assert refused_line == line.replace("author_email=", "author_email=nobody"), place
        again.mkdir()
        call(str(BIN / "cookiecutter"), *shlex.split(line)[1:], cwd=again, settings=config)
        assert tree(again / "my-pipeline") == expected, place


@posix
def test_t10_cruft_repeats_its_own_bake_and_an_update_does_not_speak_of_temporary_folders(
    checkout: Path, tmp_path: Path
) -> None:
    commit(checkout)
    (tmp_path / "temporary").mkdir()
    settings = GIT | {"TMPDIR": str(tmp_path / "temporary")}
    create = [str(BIN / "cruft"), "create", str(checkout), "--no-input"]
    given = json.dumps({"stage_names": "Load it, score", "description": 'It\'s "ours"', "command_line": "no"})
    said = call(*create, "--extra-context", given, cwd=tmp_path, settings=settings).stdout
    (line,) = lines_that_repeat(said)
    (tmp_path / "again").mkdir()
    call(str(BIN / "cruft"), *shlex.split(line)[1:], cwd=tmp_path / "again", settings=settings)
    one, other = (tree(folder / "my-pipeline") for folder in (tmp_path, tmp_path / "again"))
    typed, again = (json.loads(files.pop(".cruft.json"))["context"]["cookiecutter"] for files in (one, other))
    assert one == other
    # The line has the pool as it came out: no stage was named for it.
    assert typed | {"__typed_pool": "none "} == again
    commit(tmp_path / "my-pipeline")
    (checkout / "{{cookiecutter.project_slug}}" / "newer.txt").write_text("newer\n")
    commit(checkout)
    said = call(str(BIN / "cruft"), "update", "-y", cwd=tmp_path / "my-pipeline", settings=settings).stdout
    assert (tmp_path / "my-pipeline" / "newer.txt").is_file()
    assert "is ready" not in said


def replay(folder: Path, name: str, **changes: object) -> subprocess.CompletedProcess[str]:
    """Bake from a replay file in which these answers are others; None takes an answer away."""
    (saved,) = folder.glob("replays/*.json")
    answers = json.loads(saved.read_text(encoding="utf-8"))
    for prompt, answer in changes.items():
        answers["cookiecutter"][prompt] = answer
    file = folder / f"{name}.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    (folder / name).mkdir()
    return call(COMMAND, str(ROOT), "--replay-file", str(file), "-o", name, cwd=folder, check=False)


def test_t10_a_replay_gives_the_same_again_and_one_that_was_edited_badly_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"replay_dir: {tmp_path}/replays\n", encoding="utf-8")
    settings = {"COOKIECUTTER_CONFIG": str(config)}
    given = ["stage_names=Load it; score,", "sub_task_stage=Score", "command_line=no"]
    call(COMMAND, str(ROOT), "--no-input", *given, cwd=tmp_path, settings=settings)
    first = tree(tmp_path / "my-pipeline")
    (tmp_path / "again").mkdir()
    call(COMMAND, str(ROOT), "--replay", "-o", "again", cwd=tmp_path, settings=settings)
    assert tree(tmp_path / "again" / "my-pipeline") == first
    assert replay(tmp_path, "file").returncode == 0
    assert tree(tmp_path / "file" / "my-pipeline") == first
    edited: list[tuple[dict[str, object], str]] = [
        ({"stage_names": "load"}, "stage_names: __stages is 'load_it,score', and follows as 'load'; "),
        ({"sub_task_stage": ""}, "sub_task_stage: __pool_stage is 'score', and follows as ''; "),
        ({"license": "GPL-3.0"}, "license: 'GPL-3.0' is no choice; write one of MIT, Apache-2.0, "),
        ({"author_name": None}, "author_name: null is no text; put it in quotes"),
        ({"description": 12}, "description: 12 is no text; put it in quotes"),
        ({"command_line": "maybe"}, "command_line: 'maybe' is neither yes nor no; "),
        ({"project_slug": "../../elsewhere"}, "project_slug: '../../elsewhere' is not 'my-pipeline', "),
    ]
    for number, (changes, says) in enumerate(edited):
        done = replay(tmp_path, str(number), **changes)
        assert done.returncode != 0
        assert done.stderr.startswith(says), done.stderr
        assert list((tmp_path / str(number)).iterdir()) == []


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("author_name: null\nauthor_email:\nstage_names: 'load, score,'", None),
        ("project_name: 2024\ndescription: 3.14\nauthor_name: 007", None),
        ("description: |\n  A text.\nstage_names: |\n  Load it\n  score\n", None),
        ("command_line: no\nmetrics: none\npython_min: '3.12'", None),
        ("command_line: 0", None),
        ("author_name: no", "author_name: false is no text; put it in quotes"),
        ("stage_names: [load, score]", 'stage_names: ["load", "score"] is a list; write one text, with commas'),
        ("project_name: [a, b]", 'project_name: ["a", "b"] is a list; write one text, with commas'),
        ("project_name: null", "project_name: '' is empty; give the project a name"),
        ("stage_names: null", "stage_names: '' names no stage; name one at least"),
        ("command_line: null", "command_line: 'none' is neither yes nor no; write one of them"),
        ("command_line: [no, yes]", None),
    ],
)
def test_t10_values_of_a_configuration_file_are_understood_or_refused(
    written: str, says: str | None, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    answers = "".join(f"  {line}\n" for line in written.splitlines())
    config.write_text(f"replay_dir: {tmp_path}/replays\ndefault_context:\n{answers}", encoding="utf-8")
    (tmp_path / "here").mkdir()
    settings = {"COOKIECUTTER_CONFIG": str(config)}
    done = call(COMMAND, str(ROOT), "--no-input", cwd=tmp_path / "here", check=False, settings=settings)
    made = [*(tmp_path / "here").iterdir()]
    if says is not None:
        assert (done.returncode != 0, made) == (True, [])
        assert done.stderr.startswith(says), done.stderr
        return
    assert done.returncode == 0, done.stderr
    project = Bake(made[0], next(made[0].glob("src/*")).name)
    assert "None" not in project.text("LICENSE") + project.text("pyproject.toml")
    project.python("-c", f"import {project.package}.pipeline")
