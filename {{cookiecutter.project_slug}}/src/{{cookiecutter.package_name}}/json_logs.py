"""Logs as JSON, a line a record, for whoever collects and searches them."""

import json
import logging
from datetime import UTC, datetime

from .pipeline_core.errors import short

_MOST = 100_000  # Characters of one text.
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}  # What every record has.


class JsonFormatter(logging.Formatter):
    """Each record becomes one line: an object with `time` (ISO 8601, UTC), `level`, `logger`, `message`.

    Then comes what the record has beyond that: `stage`, `worker` (a thread's name) and `item_index` if a stage logs
    through `self.logger`, and any `extra` of yours; a value that JSON cannot hold is there as its repr. An exception is
    in `exception`, as text, with its traceback. Never raises, whatever it is given: the line is always valid JSON.

        handler.setFormatter(JsonFormatter())
    """

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": short(record, logging.LogRecord.getMessage, _MOST),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in _USUAL | fields.keys()}
        if record.exc_info or record.exc_text:
            fields["exception"] = short(record, self._exception, _MOST)
        if record.stack_info:
            fields["stack"] = record.stack_info
        return "{" + ", ".join(f"{json.dumps(name)}: {_as_json(value)}" for name, value in fields.items()) + "}"

    def _exception(self, record: logging.LogRecord) -> str:
        return record.exc_text or (self.formatException(record.exc_info) if record.exc_info else "")


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except Exception:
        return json.dumps(short(value))
