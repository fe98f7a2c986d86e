"""Records what a terminal shows of the demo: docs/demo.svg, and the same as text on stdout.

python tools/record.py BUILD_FOLDER

In the middle of the run the live table as it stands, and then the report. It bakes the default project into the folder.
"""

import io
import re
import runpy
import sys
from pathlib import Path

from cookiecutter.main import cookiecutter
from rich.console import Console

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100
MIDDLE = 0.6  # Of the items, when the table is taken.


def main() -> None:
    options = {"no_input": True, "output_dir": sys.argv[1], "overwrite_if_exists": True}
    project = Path(cookiecutter(str(ROOT), **options))
    sys.path.insert(0, str(project / "src"))
    from my_pipeline.observers.diagnosis import Diagnosis
    from my_pipeline.observers.progress import Progress
    from my_pipeline.observers.report_table import ReportTable

    demo = runpy.run_path(str(project / "demo.py"))
    console = Console(record=True, width=WIDTH, force_terminal=True, color_system="truecolor", file=io.StringIO())
    pipeline, items = demo["simulated_pipeline"](), demo["ITEMS"]
    diagnosis = Diagnosis(pipeline)
    progress = Progress(pipeline, Console(file=console.file, width=WIDTH, quiet=True), lambda: items)
    console.print("$ python demo.py", style="bold")
    with progress:
        for number, _ in enumerate(pipeline.run(range(items))):
            if number == int(MIDDLE * items):
                console.print(progress.table())
    console.print()
    console.print(ReportTable(diagnosis.reading()))
    svg = console.export_svg(title="python demo.py", clear=False, unique_id="demo")
    print(console.export_text(clear=False))
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # Which would be fetched from elsewhere.
    (ROOT / "docs" / "demo.svg").write_text(
        "\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
