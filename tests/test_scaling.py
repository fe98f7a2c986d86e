"""docs/scaling.md: its commands and its manifest. Those of a cluster run in `test_ray.py`."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from baking import ROOT, Baker, environment

PAGE = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.*)\n(?:(?!^## |^```)(?s:.))*?^```\w*\n((?s:.)*?)^```$", PAGE, re.MULTILINE))


def commands_of(heading: str) -> list[list[str]]:
    """The commands in the first block below that heading."""
    return [shlex.split(line, comments=True) for line in BLOCKS[heading].splitlines()]


def fields(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, NUMBER, TEXTS = (
    {"type": "string"},
    {"type": "integer"},
    {"type": "object", "additionalProperties": {"type": "string"}},
)
QUANTITY = {"type": ["integer", "string"], "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE])?$"}
POD = fields(
    "spec",
    spec=fields(
        "containers",
        containers={
            "type": "array",
            "items": fields(
                "name",
                name=TEXT,
                image=TEXT,
                resources=fields(limits={"type": "object", "additionalProperties": QUANTITY}),
            ),
        },
    ),
)
# The fields that the manifest uses, as KubeRay's definition of them has them: rayclusters.ray.io, version v1, August 2026.
RAY_CLUSTER = fields(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayCluster"},
    metadata=fields("name", name=TEXT),
    spec=fields(
        "headGroupSpec",
        rayVersion=TEXT,
        authOptions=fields(mode={"enum": ["disabled", "token"]}),
        headGroupSpec=fields("template", rayStartParams=TEXTS, template=POD),
        workerGroupSpecs={
            "type": "array",
            "items": fields(
                "groupName",
                "maxReplicas",
                "minReplicas",
                "template",
                groupName=TEXT,
                replicas=NUMBER,
                minReplicas=NUMBER,
                maxReplicas=NUMBER,
                rayStartParams=TEXTS,
                template=POD,
            ),
        },
    ),
)


def test_the_manifest_fits_what_kuberay_defines_and_lets_nobody_in_without_a_token() -> None:
    manifest = yaml.safe_load(BLOCKS["On Kubernetes"])
    Draft202012Validator(RAY_CLUSTER).validate(manifest)
    assert manifest["spec"]["authOptions"] == {"mode": "token"}
    pinned = re.search(r"^ray==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert manifest["spec"]["rayVersion"] == pinned[1]  # With which the tests run.


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the commands are written for a POSIX shell")
def test_two_machines_without_ray_do_the_parts_and_a_lost_one_is_a_command_to_repeat(
    bake: Baker, tmp_path: Path
) -> None:
    """`ssh` is a script here that runs the command on this machine, in the same folder."""
    project = bake().copy(tmp_path)
    stage = project.path / "src/my_pipeline/stages/model_inference.py"
    code = stage.read_text(encoding="utf-8")
    stage.write_text(code.replace("        return item\n", "        time.sleep(0.002)\n        return item\n"), "utf-8")
    stage.write_text(stage.read_text("utf-8").replace("\nfrom ", "\nimport time\n\nfrom ", 1), "utf-8")
    items = [f'{{"id": {number}}}\n' for number in range(2000)]
    tools, shared = tmp_path / "tools", tmp_path / "shared"
    for folder in (tmp_path / "data", tools, shared):
        folder.mkdir()
    for number in range(20):
        part = "".join(items[number * 100 : (number + 1) * 100])
        (tmp_path / f"data/{number:02}.jsonl").write_text(part, encoding="utf-8")
    (tools / "ssh").write_text('#!/bin/sh\nexec sh -c "$2"\n', encoding="utf-8")
    (tools / "my-pipeline").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m my_pipeline "$@"\n', encoding="utf-8")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    env = environment(PYTHONPATH=str(project.path / "src"))
    env["PATH"] = f"{tools}:{env['PATH']}"
    commands = BLOCKS["Two machines without Ray"].replace("/shared", str(shared))
    first = commands.splitlines()[0].removesuffix("&")
    lost = subprocess.Popen(
        ["sh", "-c", first], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (begun := shared / "0.jsonl.part").exists() or not begun.stat().st_size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(lost.pid, signal.SIGKILL)
    lost.wait()
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert (shared / "out.jsonl").read_text(encoding="utf-8").splitlines() == [item.strip() for item in items]
