"""Train a model on the first rows of an electricity file, let it predict the others, and write what Driftline reads.

Run it with the CSV file and a folder; it leaves `reference.parquet`, `predictions.parquet` and `labels.parquet` there.
Every fourth of the first days is kept from the training and becomes the reference: a model that is asked about rows it
has learnt from looks better than it is. It needs scikit-learn, which is in the development environment.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from sklearn.tree import DecisionTreeClassifier

FIRST_ROWS = 5_000
ROWS_A_DAY = 48
REFERENCE_EVERY_DAYS = 4
FIRST = np.datetime64("1996-05-07T00:00", "ms")
HALF_HOUR = np.timedelta64(30, "m")
LABEL_DELAY = np.timedelta64(1, "D")
"""The file says when a row is, not when its label was known; a day is our assumption."""


def main(source: Path, folder: Path) -> None:
    """Write the three files."""
    data = pa.csv.read_csv(source)
    names = [name for name in data.column_names if name != "class"]
    inputs = np.column_stack([data[name].to_numpy() for name in names])
    label = data["class"].to_numpy()
    row = np.arange(data.num_rows)
    kept = row // ROWS_A_DAY % REFERENCE_EVERY_DAYS == REFERENCE_EVERY_DAYS - 1
    model = DecisionTreeClassifier(max_depth=5, random_state=0)
    model.fit(inputs[(row < FIRST_ROWS) & ~kept], label[(row < FIRST_ROWS) & ~kept])
    score = model.predict_proba(inputs)[:, 1]
    time = FIRST + row * HALF_HOUR
    predictions = pa.table(
        {
            "id": row,
            "timestamp": time,
            **{name: data[name] for name in names},
            "prediction": (score >= 0.5).astype(int),
            "score": score,
        }
    )
    labels = pa.table({"id": row, "timestamp": time + LABEL_DELAY, "label": label})
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("reference", predictions.append_column("label", labels["label"]).filter((row < FIRST_ROWS) & kept)),
        ("predictions", predictions.slice(FIRST_ROWS)),
        ("labels", labels.slice(FIRST_ROWS)),
    ):
        pq.write_table(table, folder / f"{name}.parquet")
        print(f"{folder / name}.parquet: {table.num_rows} rows")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python train.py ELECTRICITY_CSV FOLDER")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
