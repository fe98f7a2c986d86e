"""Runs a notebook of one cell, and prints what its readers see: at last, and meanwhile.

python notebook.py CELL     prints JSON: `outputs`, the texts of the outputs at the end; `seen`, the texts of all messages
"""

import json
import re
import sys
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

seen: list[str] = []


def text(content: dict[str, Any]) -> str:
    plain = str(content.get("text") or content.get("data", {}).get("text/plain", ""))
    return re.sub(r"\x1b\[[0-9;]*m", "", plain)  # Colours.


class Client(NotebookClient):
    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        seen.append(text(msg["content"]))
        return super().process_message(msg, cell, cell_index)


if __name__ == "__main__":
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.argv[1])])  # type: ignore[no-untyped-call]
    failed = ""
    try:
        Client(notebook, timeout=60, kernel_name="python3").execute()
    except CellExecutionError as error:
        failed = str(error)
    outputs = [text(output) for output in notebook.cells[0].outputs]
    print(json.dumps({"failed": failed, "outputs": outputs, "seen": [shown for shown in seen if shown]}))
