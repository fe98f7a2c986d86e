"""Measures the pipeline beside the same by hand and in polars, in rounds, each command once in a round.

python measure.py [ROUNDS]   # in the project, with access.log.gz and pages.csv, polars installed
"""

import os
import subprocess
import sys
from statistics import median
from time import perf_counter

PIPELINE = "-m my_pipeline run access.log.gz --overwrite --on-error skip --dead-letters dead.jsonl --quiet"
PROCESSES = "--set processes=2"
COMMANDS = {
    "rows: pipeline": f"{PIPELINE} -o rows.parquet",
    "rows: pipeline, parse in 2 processes": f"{PIPELINE} {PROCESSES} -o rows.parquet",
    "rows: by hand": "by_hand.py access.log.gz by_hand_rows.parquet",
    "rows: polars": "in_polars.py access.log.gz polars_rows.parquet",
    "totals: pipeline": f"{PIPELINE} --set totals=true -o totals.parquet",
    "totals: pipeline, parse in 2 processes": f"{PIPELINE} {PROCESSES} --set totals=true -o totals.parquet",
    "totals: by hand": "by_hand.py access.log.gz by_hand_totals.parquet",
    "totals: polars": "in_polars.py access.log.gz polars_totals.parquet",
}


def measured(command: str) -> tuple[float, float, int]:
    """Seconds, CPU seconds and peak MB; the last two of the process alone, without child processes that parse."""
    start = perf_counter()
    process = subprocess.Popen([sys.executable, *command.split()], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    expected = 1 if "my_pipeline" in command else 0  # 1: some lines failed.
    if process.returncode != expected:
        sys.exit(f"{command} exits with {process.returncode}")
    return perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if sys.argv[1:] else 3
    found: dict[str, list[tuple[float, float, int]]] = {name: [] for name in COMMANDS}
    for number in range(1, rounds + 1):
        for name, command in COMMANDS.items():
            found[name].append(measured(command))
            print("round", number, name, *(f"{figure:.4g}" for figure in found[name][-1]), file=sys.stderr)
    print(f"{'median of ' + str(rounds):40}{'seconds':>10}{'(least)':>10}{'CPU s':>10}{'MB':>10}")
    for name, figures in found.items():
        seconds, cpu, memory = zip(*figures, strict=True)
        print(f"{name:40}{median(seconds):10.1f}{min(seconds):10.1f}{median(cpu):10.1f}{max(memory):10}")
