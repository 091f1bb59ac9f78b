"""Raw rows: one JSON object a line, written as things happen, read back by a judge that knows nothing else."""
import json
import pathlib


class Rows:
    """Appends rows to build/bench/NAME/rows.jsonl, begun afresh."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w")

    def add(self, **row):
        self._file.write(json.dumps(row, separators=(",", ":"), default=str) + "\n")
        self._file.flush()

    def close(self):
        self._file.close()


def read_rows(path):
    with open(path) as file:
        return [json.loads(line) for line in file if line.strip()]
