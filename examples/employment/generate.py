"""Make files like those of the employment example, with changes at known times.

Run it with a folder to write to; it leaves `reference.parquet`, `analysis.parquet` and `labels.parquet` there. The same
seed gives the same rows. What changes, and when, is in `CHANGES`.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 2015
ROWS_A_DAY = 1_500
DAY_MS = 86_400_000
REFERENCE_DAYS, ANALYSIS_DAYS = 14, 30
ANALYSIS_START_MS = round(datetime(2024, 3, 1, tzinfo=UTC).timestamp() * 1000)

CHANGES = {
    "recoded": ANALYSIS_START_MS + 10 * DAY_MS,
    "younger": ANALYSIS_START_MS + 15 * DAY_MS,
    "recession": ANALYSIS_START_MS + 20 * DAY_MS,
}
"""What changes from when on.

recoded
    RELP is sent with new codes, 20 to 37 instead of 0 to 17. The model does not use it: drift without damage.
younger
    A third of the people are 16 to 24 years old. The relation of inputs to labels stays as it is.
recession
    Three in ten of those who would have work have none. No input changes: only labels can show it.
"""

LABEL_DELAY_MEAN_MS = 1.5 * DAY_MS

CODES = {
    "MAR": ([1, 2, 3, 4, 5], [0.38, 0.05, 0.08, 0.02, 0.47]),
    "RELP": ([0, 1, 2, 10, 12, 13, 16, 17], [0.40, 0.20, 0.24, 0.03, 0.03, 0.03, 0.02, 0.05]),
    "ESP": ([0, 1, 2, 3, 4, 5, 6, 7, 8], [0.80, 0.07, 0.02, 0.02, 0.01, 0.02, 0.01, 0.04, 0.01]),
    "CIT": ([1, 2, 3, 4, 5], [0.82, 0.02, 0.01, 0.08, 0.07]),
    "MIG": ([0, 1, 2, 3], [0.01, 0.86, 0.01, 0.12]),
    "MIL": ([0, 1, 2, 3, 4], [0.18, 0.01, 0.05, 0.01, 0.75]),
    "ANC": ([1, 2, 3, 4], [0.45, 0.30, 0.08, 0.17]),
    "NATIVITY": ([1, 2], [0.85, 0.15]),
    "DIS": ([1, 2], [0.12, 0.88]),
    "DEAR": ([1, 2], [0.03, 0.97]),
    "DEYE": ([1, 2], [0.02, 0.98]),
    "DREM": ([0, 1, 2], [0.05, 0.05, 0.90]),
    "SEX": ([1, 2], [0.48, 0.52]),
    "RAC1P": ([1, 2, 3, 6, 8, 9], [0.80, 0.07, 0.01, 0.06, 0.03, 0.03]),
}
"""Census codes and how often each occurs; AGEP (age) and SCHL (schooling) are drawn apart."""


def people(first_id: int, start_ms: int, days: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw people at random times, with what the model says of each and whether each has work."""
    n = days * ROWS_A_DAY
    time_ms = np.sort(random.integers(start_ms, start_ms + days * DAY_MS, n))
    age = np.clip(np.rint(random.normal(41, 21, n)), 0, 95)
    young = (time_ms >= CHANGES["younger"]) & (random.random(n) < 1 / 3)
    age[young] = random.integers(16, 25, young.sum())
    schooling = np.clip(np.minimum(np.rint(random.normal(18, 4, n)), age - 3), 1, 24)
    coded = {name: random.choice(codes, n, p=shares) for name, (codes, shares) in CODES.items()}
    lean = 2.2 - ((age - 42) / 13) ** 2 + 0.12 * (schooling - 16) - 1.6 * (coded["DIS"] == 1)
    has_work = random.random(n) < _probability(lean)
    has_work &= ~((time_ms >= CHANGES["recession"]) & (random.random(n) < 0.3))
    score = _probability(lean + random.normal(0, 0.3, n))
    coded["RELP"][time_ms >= CHANGES["recoded"]] += 20
    return {
        "id": np.arange(first_id, first_id + n),
        "timestamp": time_ms.astype("datetime64[ms]"),
        "AGEP": age,
        "SCHL": schooling.astype(int).astype(str),
        **{name: codes.astype(str) for name, codes in coded.items()},
        "year": np.where(time_ms < ANALYSIS_START_MS, 2023, 2024),
        "prediction": (score >= 0.5).astype(int),
        "predicted_probability": score,
        "employed": has_work.astype(int),
    }


def _probability(lean: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-lean))


def main(folder: Path) -> None:
    """Write the three files."""
    random = np.random.default_rng(SEED)
    reference = people(0, ANALYSIS_START_MS - REFERENCE_DAYS * DAY_MS, REFERENCE_DAYS, random)
    analysis = people(len(reference["id"]), ANALYSIS_START_MS, ANALYSIS_DAYS, random)
    known_ms = analysis["timestamp"].astype(int) + random.exponential(LABEL_DELAY_MEAN_MS, len(analysis["id"]))
    known = known_ms < ANALYSIS_START_MS + ANALYSIS_DAYS * DAY_MS
    labels = {
        "id": analysis["id"][known],
        "timestamp": known_ms[known].astype("datetime64[ms]"),
        "employed": analysis.pop("employed")[known],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in (("reference", reference), ("analysis", analysis), ("labels", labels)):
        table = pa.table(columns)
        pq.write_table(table, folder / f"{name}.parquet")
        print(f"{folder / name}.parquet: {table.num_rows} rows")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python generate.py FOLDER")
    main(Path(sys.argv[1]))
