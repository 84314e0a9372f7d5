"""Do the pictures show what the rows say, whatever the rows are, and never more than fits?"""

import csv
import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from dashboards import drift_picture
from dashboards.drift_picture import COLUMNS_MAX, FEATURES_MAX, drift_figure
from dashboards.performance_picture import performance_figure
from dashboards.pictures import write_pictures
from dashboards.sheet import Row
from driftline.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)


def time(hour: float) -> str:
    return (START + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def verdict(
    feature: str,
    hour: int,
    score: float,
    *,
    detector: str = "psi",
    level: str | None = None,
    segment: str = "*",
    version: str = "v1",
) -> Row:
    """A verdict on the hour that ends at `hour`, with the threshold 0.1."""
    return {
        "model": "m",
        "version": version,
        "segment": segment,
        "feature": feature,
        "window_start": time(hour - 1),
        "window_end": time(hour),
        "detector": detector,
        "score": str(score),
        "threshold": "0.1",
        "level": level or ("drift" if score >= 0.1 else "ok"),
    }


def metric(
    name: str, hour: int, value: str, *, basis: str = "cohort", n_labelled: int = 10, version: str = "v1"
) -> Row:
    return {
        "model": "m",
        "version": version,
        "segment": "*",
        "window_start": time(hour - 1),
        "window_end": time(hour),
        "basis": basis,
        "metric": name,
        "value": value,
        "low": value and str(float(value) - 0.1),
        "high": value and str(float(value) + 0.1),
        "n_labelled": str(n_labelled),
        "coverage": str(n_labelled / 10),
    }


def words(figure: Figure) -> str:
    """Everything that stands in a picture, once it is drawn."""
    png(figure)
    return "\n".join(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text) and text.get_visible())


def png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, dpi=60)
    return file.getvalue()


def heat(figure: Figure) -> np.ma.MaskedArray[tuple[int, int], np.dtype[np.float64]]:
    [mesh] = [found for found in figure.axes[0].collections if isinstance(found, QuadMesh)]
    return np.ma.asarray(mesh.get_array())


def rows_shown(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def marked(figure: Figure, panel: int, marker: str) -> list[tuple[float, float]]:
    """Where a panel bears a mark: x in hours since the start, y as it is."""
    hours = START.timestamp() / 3600
    lines = [line for line in figure.axes[panel].lines if line.get_marker() == marker]
    return sorted(
        (round(float(x) * 24 - hours, 6), float(y))
        for line in lines
        for x, y in zip(np.asarray(line.get_xdata()), np.asarray(line.get_ydata()), strict=True)
    )


def test_each_cell_is_its_windows_score_over_its_threshold() -> None:
    figure = drift_figure([verdict("a", 1, 0.05), verdict("a", 2, 0.3), verdict("b", 1, 0.02), verdict("b", 2, 0.04)])

    assert rows_shown(figure) == ["a", "b"]
    np.testing.assert_allclose(heat(figure), [[0.5, 3.0], [0.2, 0.4]])


def test_only_all_traffic_is_drawn() -> None:
    figure = drift_figure([verdict("a", 1, 0.05), verdict("a", 1, 9.0, segment="SEX=1")])

    np.testing.assert_allclose(heat(figure), [[0.5]])


def test_the_feature_with_most_windows_in_drift_comes_first_then_the_highest_score() -> None:
    once_but_high = [verdict("once", 1, 5.0), verdict("once", 2, 0.0)]
    twice = [verdict("twice", 1, 0.1), verdict("twice", 2, 0.1)]
    calm = [verdict("calm", 1, 0.01), verdict("nearly", 1, 0.09)]

    assert rows_shown(drift_figure([*calm, *once_but_high, *twice])) == ["twice", "once", "nearly", "calm"]


def test_a_window_without_verdicts_is_blank_and_one_with_too_few_events_is_not() -> None:
    figure = drift_figure([verdict("a", 1, 0.05), verdict("a", 3, 7.0, level="not_ready"), verdict("b", 2, 0.01)])

    cells = dict(zip(rows_shown(figure), heat(figure), strict=True))
    assert np.ma.getmaskarray(cells["a"]).tolist() == [False, True, False]
    assert cells["a"][2] < 0, "a score of too few events has a shade of its own"
    assert "too few events" in words(figure)


def test_sequential_findings_and_warnings_are_marks_upon_the_colours() -> None:
    figure = drift_figure(
        [
            verdict("a", 1, 0.01),
            verdict("a", 2, 0.07, level="warning"),
            verdict("a", 1, 0.5, detector="adwin"),
            verdict("a", 2, 0.0, detector="adwin"),
        ]
    )

    np.testing.assert_allclose(heat(figure), [[0.1, 0.7]])
    assert marked(figure, 0, "^") == [(0.5, 0.5)]
    assert marked(figure, 0, "o") == [(1.5, 0.5)]
    assert "0 · 1" in words(figure), "PSI found drift in no window, ADWIN in one"


def test_without_another_detector_the_sequential_one_gives_the_colours() -> None:
    figure = drift_figure([verdict("a", 1, 0.2, detector="adwin")])

    np.testing.assert_allclose(heat(figure), [[2.0]])
    assert marked(figure, 0, "^") == []


def test_an_error_series_is_a_line_with_a_mark_at_each_drift() -> None:
    figure = drift_figure(
        [
            verdict("a", 1, 0.0),
            verdict("@error.1", 1, 0.0, detector="adwin", level="not_ready"),
            verdict("@error.1", 2, 0.05, detector="adwin"),
            verdict("@error.1", 3, 0.25, detector="adwin"),
        ]
    )

    assert rows_shown(figure) == ["a"]
    assert marked(figure, 1, "^") == [(3.0, 2.5)]
    [line] = [line for line in figure.axes[1].lines if str(line.get_label()).startswith("@error.1")]
    np.testing.assert_allclose(np.asarray(line.get_ydata(), np.float64), [np.nan, 0.5, 2.5])
    assert "@error.1: drift in 1 of 3 windows" in words(figure)


@pytest.mark.parametrize(
    "errors", [[], [verdict("@error.0", 1, 0.0, detector="adwin", level="not_ready")]], ids=["absent", "too few"]
)
def test_without_labels_the_error_panel_says_so(errors: list[Row]) -> None:
    assert "No labels came" in words(drift_figure([verdict("a", 1, 0.0), *errors]))


def test_a_picture_of_no_verdicts_says_why() -> None:
    assert "No window was judged" in words(drift_figure([]))


def test_many_features_are_cut_and_counted() -> None:
    figure = drift_figure([verdict(f"f{n}", 1, n / 1000) for n in range(FEATURES_MAX + 12)])

    assert len(rows_shown(figure)) == FEATURES_MAX
    assert rows_shown(figure)[0] == f"f{FEATURES_MAX + 11}"
    assert "12 more are not shown" in words(figure)


def test_many_windows_share_columns_and_the_one_in_drift_stays_seen() -> None:
    n = 3 * COLUMNS_MAX + 1
    figure = drift_figure([verdict("a", hour, 0.9 if hour == 77 else 0.01) for hour in range(1, n + 1)])

    cells = heat(figure)[0]
    assert len(cells) <= COLUMNS_MAX
    assert np.flatnonzero(cells >= 1).tolist() == [(77 - 1) // 4]
    assert "the worst of 4 windows" in words(figure)


def test_of_several_versions_a_cell_shows_the_worst() -> None:
    figure = drift_figure([verdict("a", 1, 0.01), verdict("a", 1, 0.4, version="v2")])

    np.testing.assert_allclose(heat(figure), [[4.0]])
    assert "the worst of 2 versions" in words(figure)


def test_names_are_shown_as_they_are_written() -> None:
    odd = r"$\frac{"
    figure = drift_figure([verdict(odd, 1, 0.0), verdict(f"@error.{odd}", 1, 0.0, detector="adwin")])
    performance = performance_figure(
        [metric("accuracy", 1, "0.5", version=odd), metric("accuracy", 1, "0.5", version="$")], {}
    )

    assert odd in words(figure)
    assert odd in words(performance)


def test_a_picture_depends_on_its_rows_alone() -> None:
    rows = [verdict("a", hour, hour / 30, detector=detector) for hour in range(1, 9) for detector in ("psi", "adwin")]
    first = png(drift_figure(rows))
    performance_figure([metric("accuracy", 1, "0.5")], {})

    assert png(drift_figure(rows)) == first


def test_pictures_need_no_global_figure_manager() -> None:
    question = "import sys, dashboards.pictures; print('matplotlib.pyplot' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", question], cwd=Path(__file__).parents[3], capture_output=True, text=True, check=True
    )

    assert answer.stdout.strip() == "False"


def test_shades_get_darker_with_the_ratio_so_that_no_colours_are_needed() -> None:
    # Rec. 709 luminance of linear light; the first shade is that of too few events.
    light = np.array([to_rgb(shade) for shade in drift_picture._SHADES[1:]])
    linear = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    assert (np.diff(linear @ [0.2126, 0.7152, 0.0722]) < 0).all()


def test_each_metric_has_a_panel_with_a_band_and_coverage_comes_last() -> None:
    rows = [
        metric(name, hour, value, basis=basis)
        for name in ("recall", "accuracy")
        for basis in ("arrival", "cohort")
        for hour, value in ((1, "0.5"), (2, ""), (3, "0.7"))
    ]
    figure = performance_figure(rows, {"recall": 0.6})

    labels = [panel.get_ylabel().split("\n")[0] for panel in figure.axes]
    assert labels == ["accuracy", "recall", "coverage"]
    cohort, arrival = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(cohort.get_ydata(), np.float64), [0.5, np.nan, 0.7])
    assert cohort.get_linestyle() != arrival.get_linestyle()
    assert len(figure.axes[0].collections) == 2, "a band for each line"
    assert [np.asarray(line.get_ydata())[0] for line in figure.axes[1].lines[2:]] == [0.6]
    assert "floor" in words(figure)


def test_without_labels_performance_says_so() -> None:
    assert "No labels came" in words(performance_figure([metric("accuracy", 1, "", n_labelled=0)], {}))
    assert "has no labels" in words(performance_figure([], {}))


def test_estimates_are_drawn_before_any_label_and_have_no_coverage() -> None:
    rows = [
        metric("accuracy", hour, value, basis=basis, n_labelled=0)
        for basis, value in (("cohort", ""), ("estimated", "0.8"))
        for hour in (1, 2)
    ]
    figure = performance_figure(rows, {})

    _, estimated = figure.axes[0].lines
    np.testing.assert_allclose(np.asarray(estimated.get_ydata(), np.float64), [0.8, 0.8])
    assert "estimated without labels" in words(figure)
    assert [len(np.asarray(line.get_ydata())) for line in figure.axes[1].lines] == [2, 0]


def test_many_versions_are_cut_and_counted() -> None:
    figure = performance_figure([metric("accuracy", 1, "0.5", version=f"v{n}") for n in range(9)], {})

    assert "3 more series are not shown" in words(figure)
    assert "version v5" in words(figure)
    assert "version v6" not in words(figure)


def write(path: Path, row: Row) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)


def test_files_become_pictures_that_can_be_looked_at(tmp_path: Path) -> None:
    write(tmp_path / "drift.csv", verdict("price in \N{CJK UNIFIED IDEOGRAPH-5186}", 1, 0.2))
    write(tmp_path / "performance.csv", metric("accuracy", 1, "0.9"))

    written = write_pictures(tmp_path, {})

    assert written == [tmp_path / "drift.png", tmp_path / "performance.png"]
    for path in written:
        image = matplotlib.image.imread(path)
        assert image.shape[0] > 100
        assert image.shape[1] > 1000
        assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 10


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drift"):
        write_pictures(tmp_path, {})
