"""Records what a terminal shows of the demo: docs/demo.svg, a moving picture, and its last two frames as text on stdout.

python tools/record.py BUILD_FOLDER

The live table as the run goes on, and then the report. It bakes the default project into the folder.
"""

import io
import re
import runpy
import sys
from pathlib import Path

from cookiecutter.main import cookiecutter
from rich.console import Console, RenderableType

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
FRAMES = 12  # Of the run; then comes the report.
SECONDS, REPORT_SECONDS = 0.7, 8.0  # For which a frame, and the report, are shown.
FRAME = """\
<g class="frame" style="animation-name: {unique_id}"><style>{styles}</style>
<g transform="translate({terminal_x}, {terminal_y})">{backgrounds}<g class="matrix">
{matrix}
</g></g></g>"""
PICTURE = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>python demo.py: the live table of a run, and then its report</title>
<style>
.matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: {char_height}px; white-space: pre }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif }}
.frame {{ visibility: hidden; animation: SECONDSs step-end infinite }}
.frame:last-child {{ visibility: visible }}
@media (prefers-reduced-motion: reduce) {{ .frame {{ animation: none }} }}
</style>
{chrome}
FRAMES
</svg>
"""


def main() -> None:
    options = {"no_input": True, "output_dir": sys.argv[1], "overwrite_if_exists": True}
    project = Path(cookiecutter(str(ROOT), **options))
    sys.path.insert(0, str(project / "src"))
    from my_pipeline.observers.diagnosis import Diagnosis
    from my_pipeline.observers.progress import Progress
    from my_pipeline.observers.report_table import ReportTable

    demo = runpy.run_path(str(project / "demo.py"))
    pipeline, items = demo["simulated_pipeline"](), demo["ITEMS"]
    diagnosis = Diagnosis(pipeline)
    progress = Progress(pipeline, Console(file=io.StringIO(), width=WIDTH, quiet=True), lambda: items)
    shown: list[RenderableType] = []
    with progress:
        for number, _ in enumerate(pipeline.run(range(items))):
            if number >= len(shown) * items / FRAMES + 5:
                shown.append(progress.table())
    shown.append(ReportTable(diagnosis.reading()))
    (ROOT / "docs" / "demo.svg").write_text(moving_picture(shown), encoding="utf-8")
    for each in shown[-6], shown[-1]:
        print(terminal(each).export_text())


def terminal(shown: RenderableType) -> Console:
    console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print("$ python demo.py", style="bold")
    console.print(shown)
    return console


def moving_picture(shown: list[RenderableType]) -> str:
    """An SVG that shows one after the other, for ever; the last one where a reader wants no motion."""
    whole = SECONDS * (len(shown) - 1) + REPORT_SECONDS
    frames = []
    for number, each in enumerate(shown):
        begin, end = 100 * SECONDS * number / whole, 100 * SECONDS * (number + 1) / whole
        seen = f"0% {{ visibility: hidden }} {begin:.2f}% {{ visibility: visible }}"
        seen = seen if number else "0% { visibility: visible }"
        gone = f"{end:.2f}%, 100% {{ visibility: hidden }}" if number < len(shown) - 1 else ""
        keyframes = f"<style>@keyframes f{number} {{ {seen} {gone} }}</style>"
        frames.append(keyframes + terminal(each).export_svg(code_format=FRAME, unique_id=f"f{number}"))
    around = terminal(shown[-1]).export_svg(title="python demo.py", code_format=PICTURE, unique_id="demo")
    picture = around.replace("SECONDSs", f"{whole:.1f}s").replace("FRAMES", "\n".join(frames))
    picture = re.sub(r' clip-path="[^"]*"', "", picture)  # Of each line: none is too long.
    return "\n".join(line.rstrip() for line in picture.splitlines()) + "\n"


if __name__ == "__main__":
    main()
