"""Raw rows: one JSON object per line, written while a bench runs; a judge reads nothing else."""
import json
import pathlib


class Rows:
    """Writes rows to a new build/bench/NAME/rows.jsonl."""

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
