"""A process that opens an output and writes each line of its stdin, a JSON value, to it. It says "open" once it is open.

python child_that_writes.py FILE [fork]    fork: with a child of its own, which lives until its stdin ends
"""

import json
import os
import sys
from pathlib import Path

from my_pipeline.sinks import (
    Outputs,
)

if __name__ == "__main__":
    with Outputs() as outputs:
        output = outputs.add(Path(sys.argv[1]))
        if "fork" not in sys.argv:
            print("open", flush=True)
        elif os.fork() == 0:
            print("open", flush=True)
            sys.stdin.read()
            os._exit(0)
        for line in sys.stdin:
            output.write(json.loads(line))
