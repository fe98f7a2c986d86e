"""Settings: where their values come from, what is said of a bad one, and what is never said."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

pytest.importorskip("my_pipeline.configuration", reason="this project has no command")

from my_pipeline.configuration import FILE, PREFIX, fingerprint, load_settings
from pydantic import Field, SecretStr, TypeAdapter

COMMAND = [sys.executable, str(Path(__file__).with_name("command_that_hands_on.py"))]


@dataclass(frozen=True)
class Region:
    name: str = "north"
    zones: tuple[int, ...] = ()


@dataclass(frozen=True)
class Settings:
    model: Path = Path("model.bin")
    batch: Annotated[int, Field(ge=1)] = 32
    rate: float | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    fast: bool = False
    text: str = ""
    since: date = date(2024, 1, 1)
    regions: list[Region] = field(default_factory=list)
    key: SecretStr = field(default=SecretStr(""))
    mixedCase: int = 0

    def __post_init__(self) -> None:
        if self.fast and self.device == "cpu":
            raise ValueError("fast needs the device cuda")


DEFAULT = Settings()


def build_pipeline(settings: Settings = DEFAULT, *, on_error: str = "stop") -> None:
    pass


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*given: str, file: Path | None = None) -> Settings:
    found: Settings = load_settings(build_pipeline, file, given)
    return found


def test_without_anything_set_they_are_the_default() -> None:
    assert load() is DEFAULT


def test_the_option_goes_before_the_environment_and_that_before_the_file_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    FILE.write_text('batch = 2\nmodel = "file.bin"\ntext = "file"\n')
    monkeypatch.setenv(f"{PREFIX}BATCH", "3")
    monkeypatch.setenv(f"{PREFIX}TEXT", "environment")
    found = load("batch=4")
    assert (found.batch, found.text, found.model, found.device) == (4, "environment", Path("file.bin"), "cpu")
    assert load("batch=4", "batch=5").batch == 5


def test_a_file_that_is_named_is_read_instead_of_the_usual_one(folder: Path) -> None:
    FILE.write_text("batch = 2\n")
    (folder / "other.toml").write_text('text = "é"\n', encoding="utf-8")
    found = load(file=Path("other.toml"))
    assert (found.batch, found.text) == (32, "é")


VALUES: list[tuple[str, Any]] = [
    ("model=a/b c.bin", Path("a/b c.bin")),
    ("batch=7", 7),
    ("rate=0.5", 0.5),
    ("rate=null", None),
    ("fast=no", False),
    ("text=7", "7"),
    ("text=", ""),
    ("text=a=b", "a=b"),
    ("since=2025-02-03", date(2025, 2, 3)),
    ('regions=[{"name": "south", "zones": [1, 2]}]', [Region("south", (1, 2))]),
    ("key=hunter2", SecretStr("hunter2")),
]


@pytest.mark.parametrize(("given", "value"), VALUES, ids=[given for given, _ in VALUES])
def test_text_becomes_what_the_type_of_the_field_says(
    given: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, text = given.partition("=")
    assert getattr(load(given), name) == value
    monkeypatch.setenv(f"{PREFIX}{name.upper()}", text)
    assert getattr(load(), name) == value


def test_a_variable_is_in_capitals_whatever_the_field_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}MIXEDCASE", "3")
    assert load().mixedCase == 3


def test_toml_has_its_own_types() -> None:
    FILE.write_text('since = 2025-02-03\nfast = true\ndevice = "cuda"\n[[regions]]\nname = "west"\nzones = [3]\n')
    found = load()
    assert (found.since, found.fast, found.regions) == (date(2025, 2, 3), True, [Region("west", (3,))])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("batch=many", "--set: batch = 'many': Input should be a valid integer"),
        ("batch=0", "--set: batch = '0': Input should be greater than or equal to 1"),
        ("device=tpu", "--set: device = 'tpu': Input should be 'cpu' or 'cuda'"),
        ("fast=maybe", "--set: fast = 'maybe': Input should be a valid boolean"),
        ("regions=[{]", "--set: regions = '[{]': Input should be a valid list"),
        ("modle=x", "--set: there is no setting 'modle'; there are model, batch, "),
        ("batch", "--set takes NAME=VALUE, not 'batch'"),
        ("fast=yes", "fast needs the device cuda"),
        (f"batch={'x' * 10_000}", "--set: batch = 'xxx"),
    ],
)
def test_a_bad_option_is_said_in_one_line(given: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        load(given)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch = 'many'", f"{FILE}: batch = 'many': Input should be a valid integer"),
        ("modle = 1", f"{FILE}: there is no setting 'modle'; there are model, batch, "),
        ("batch = ", f"{FILE} is no TOML: Invalid value (at end of document)"),
        ("text = '\udcff'", f"{FILE} is no TOML: 'utf-8' codec can't decode"),
    ],
)
def test_a_bad_file_is_said_in_one_line(text: str, said: str) -> None:
    FILE.write_text(text, errors="surrogateescape", encoding="utf-8")
    with pytest.raises(ValueError, match=r".") as raised:
        load()
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}BATCH", "many")
    with pytest.raises(ValueError, match=f"^{PREFIX}BATCH: batch = 'many': Input should be a valid integer"):
        load()
    monkeypatch.setenv(f"{PREFIX}BATCH", "1")
    monkeypatch.setenv(f"{PREFIX}MODLE", "1")
    with pytest.raises(ValueError, match=f"^{PREFIX}MODLE: there is no setting 'modle'"):
        load()


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(FileNotFoundError):
        load(file=Path("missing.toml"))


def test_a_secret_is_neither_shown_nor_part_of_the_fingerprint() -> None:
    FILE.write_text("key = 123456\n")
    with pytest.raises(ValueError, match="key: Input should be a valid string") as raised:
        load()
    FILE.unlink()
    shown = [str(raised.value), repr(load("key=123456")), *fingerprint(load("key=123456")).values()]
    assert not any("123456" in text for text in shown)
    assert fingerprint(load("key=123456")) == fingerprint(load("key=other"))


def test_a_fingerprint_is_json_and_differs_where_a_value_does() -> None:
    @dataclass(frozen=True)
    class Mixed:
        words: frozenset[str] = frozenset({"a", "b", "c", "d"})
        number: int | str = 1
        key: str = field(default="", repr=False)

    assert TypeAdapter(dict[str, str]).validate_python(fingerprint(Mixed())) == {
        "words": "['a', 'b', 'c', 'd']",
        "number": "1",
    }
    assert fingerprint(Mixed(number="1")) != fingerprint(Mixed())
    assert fingerprint(Mixed(key="x")) == fingerprint(Mixed())
    assert fingerprint(None) == {}


def test_a_pipeline_without_settings_takes_none() -> None:
    def build(*, on_error: str = "stop") -> None:
        pass

    assert load_settings(build, None, []) is None
    with pytest.raises(ValueError, match=r"^--set: there is no setting 'a'; there are none in settings\.py$"):
        load_settings(build, None, ["a=1"])


@pytest.mark.parametrize("command", ["run", "retry", "profile", "graph"])
def test_each_command_builds_its_pipeline_with_them(command: str, folder: Path) -> None:
    if command == "profile":
        pytest.importorskip("my_pipeline.profiling", reason="this project has no profile")
    (folder / "in.jsonl").write_text("1\n")
    (folder / "dead.jsonl").write_text('{"stage": "start", "item": 1}\n')
    given = {"run": ["in.jsonl"], "retry": ["dead.jsonl"], "profile": ["in.jsonl", "--most=1"], "graph": []}[command]
    project = Path(sys.modules["my_pipeline"].__file__ or "").parents[1]

    def call(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": str(project), "COLUMNS": "200"} | settings
        call = [*COMMAND, command, *given, *arguments]
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=60)

    FILE.write_text('name = "start"\n')
    named: list[Callable[[], subprocess.CompletedProcess[str]]] = [
        call,
        lambda: call("--settings=other.toml", "--set=name=start"),
        lambda: call("--settings=other.toml", **{f"{PREFIX}NAME": "start"}),
    ]
    (folder / "other.toml").write_text("workers = 2\n")
    for done in (named_so() for named_so in named):
        assert done.returncode == 0, done.stderr
        assert "start" in done.stdout + done.stderr
    for bad in ("workers=few", "nmae=x"):
        done = call(f"--set={bad}")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: --set: ")
        assert done.stderr.count("\n") == 1
