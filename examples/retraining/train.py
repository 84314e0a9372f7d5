"""A command for `python -m retraining.consumer --run`: fit a model anew on the data that a request recommends.

The request comes as JSON on standard input. Given a CSV file with a column `time` (RFC 3339) and a column `label`, it
fits a logistic regression of the other columns, all numbers, on the rows of the recommended window; without a file it
only says what it would do. The last line of output is JSON with the new version, which the consumer passes on. Exit
code 0 says that the retraining succeeded, any other that it failed. Fitting needs scikit-learn, which is in the
development environment.

The new version is named after the request, so a run that is begun again after a crash writes the same one.
"""

import json
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROWS_MIN = 100


def main(data: Path | None, models: Path) -> None:
    """Retrain as the request on standard input says."""
    request = json.load(sys.stdin)["data"]
    window = request["lineage"]["recommended_window"]
    print(f"{request['model']} {request['version']}: retrain on {window['from']} to {window['to']}", flush=True)
    if data is None:
        return
    version = f"{request['model']}-{request['request_id'][:8]}"
    fitted, rows = fit(data, moment(window["from"]), moment(window["to"]))
    models.mkdir(parents=True, exist_ok=True)
    unfinished = models / f".{version}"
    unfinished.write_bytes(pickle.dumps(fitted))
    unfinished.rename(models / f"{version}.pickle")
    print(json.dumps({"version": version, "rows": rows}))


def fit(data: Path, first: datetime, last: datetime) -> tuple[Any, int]:
    """Fit on the rows of [first, last)."""
    from pyarrow import csv
    from sklearn.linear_model import LogisticRegression

    rows = [row for row in csv.read_csv(data).to_pylist() if first <= moment(row.pop("time")) < last]
    if len(rows) < ROWS_MIN:
        sys.exit(f"{data} has {len(rows)} rows from {first} to {last}, of {ROWS_MIN} that are needed")
    labels = [row.pop("label") for row in rows]
    return LogisticRegression(max_iter=1_000).fit([list(row.values()) for row in rows], labels), len(rows)


def moment(value: str | datetime) -> datetime:
    """Read a time; one without an offset is UTC."""
    read = datetime.fromisoformat(value) if isinstance(value, str) else value
    return read if read.tzinfo else read.replace(tzinfo=UTC)


if __name__ == "__main__":
    if len(sys.argv) > 3:
        sys.exit("usage: python train.py [DATA.csv [MODELS]] < request.json")
    given = [Path(argument) for argument in sys.argv[1:]]
    main(given[0] if given else None, given[1] if len(given) > 1 else Path("models"))
