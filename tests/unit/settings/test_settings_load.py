"""Does a configuration file that is wrong say everything that is wrong, where, and what was probably meant?"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from driftline.errors import ConfigurationError
from driftline.settings import load_settings
from tests.support.configurations import MODEL, load, problems


def test_a_whole_configuration_loads(config: Path) -> None:
    loaded = load(
        config,
        """\
        kafka: {bootstrap_servers: "127.0.0.1:9092"}
        postgres: {url: "postgresql://me@db/ml"}
        models:
          employment:
            task: binary
            positive_class: 1
            reference: {path: reference.parquet}
            columns: {id: id, time: timestamp, prediction: prediction, score: p, label: employed}
            features: auto
            segments: [SEX]
            windows: {length: 1h, slide: 1h, out_of_orderness: 5s, allowed_lateness: 2m, min_events: 500}
            drift: {detectors: [psi, adwin]}
            labels: {horizon: 30d}
            performance: {metrics: [accuracy, recall], min_labelled: 200, floor: {recall: 0.75}, judge_after: auto}
            retraining: {when: [drift, performance], consecutive: 2, cooldown: 6h}
        """,
    )

    assert loaded.kafka is not None
    assert loaded.models["employment"].retraining.cooldown_ms == 6 * 3_600_000


def test_an_unknown_key_names_file_line_and_the_nearest_right_key(config: Path) -> None:
    text = """\
        models:
          m:
            task: binary
            reference: {first_events: 1000}
            windows:
              lenght: 1h
        """

    assert problems(config, text) == ["monitor.yaml:6: models.m.windows.lenght: unknown key; did you mean `length`?"]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("detectors: [psi]", "`drift.detectors`"),
        ("length: 1h", "`windows.length`"),
        ("checks: []", "`quality.checks` or `traffic.checks`"),
        ("label: approved", "`labels` or `columns.label`"),
    ],
)
def test_an_unknown_key_that_is_known_one_level_below_is_told_where_it_belongs(
    config: Path, given: str, meant: str
) -> None:
    [told] = problems(config, MODEL.replace("}}}", "}, " + given + "}}"))

    key = given.partition(":")[0]
    assert told == f"monitor.yaml:1: models.m.{key}: unknown key; did you mean {meant}?"


def test_an_unknown_key_like_no_other_is_answered_with_the_known_ones(config: Path) -> None:
    assert problems(config, MODEL + "web: {xyzzy: 1}\n") == [
        "monitor.yaml:2: web.xyzzy: unknown key; known here: host, port"
    ]


def test_a_default_that_cannot_be_derived_is_told_by_its_key(config: Path) -> None:
    text = MODEL.replace("}}}", "}, windows: {length: 500ms}}}")

    [problem] = problems(config, text)

    assert problem.startswith("monitor.yaml:1: models.m.windows.pane: nothing from 1s to 10m divides")


def test_the_name_of_an_attribute_is_not_the_key(config: Path) -> None:
    [problem] = problems(config, MODEL + "limits: {max_future_ms: 5m}\n")

    assert problem.endswith("did you mean `max_future`?")


def test_everything_that_is_wrong_is_told_at_once_in_the_order_of_the_file(config: Path) -> None:
    text = """\
        kafka: {group: g}
        models:
          a:
            task: binry
            reference: {first_events: 10}
            windows:
              length: 1h
              slide: 2h
              slide: 3h
              min_events: many
          b:
            performance: {floor: {recal: 0.5}}
            segments: SEX
        """

    assert problems(config, text, DRIFTLINE__WEB__PORT="70000") == [
        "DRIFTLINE__WEB__PORT: web.port: must be at most 65535, not 70000",
        "monitor.yaml:1: kafka.bootstrap_servers: is required",
        "monitor.yaml:4: models.a.task: must be binary, multiclass or regression, not binry; did you mean binary?",
        "monitor.yaml:8: models.a.windows.slide: 2h is longer than the length 1h, so events between two windows would "
        "never be judged",
        "monitor.yaml:9: models.a.windows.slide stands twice, first on line 8; delete one",
        "monitor.yaml:10: models.a.windows.min_events: must be a whole number, not many",
        "monitor.yaml:11: models.b.task: is required",
        "monitor.yaml:11: models.b.reference: is required: path: FILE or first_events: N (or one for each of versions)",
        "monitor.yaml:12: models.b.performance.floor.recal: must be accuracy, precision, recall, f1, roc_auc, "
        "specificity, pr_auc, log_loss, brier, ece, tp, fp, fn, tn, macro_precision, macro_recall, macro_f1, "
        "weighted_precision, weighted_recall, weighted_f1, mae, rmse, mape, r2, bias, reward_sum or reward_mean, "
        "not recal; did you mean recall?",
        "monitor.yaml:13: models.b.segments: must be a list, such as [a, b]",
    ]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("web: {port: x}", "must be a whole number, not x"),
        ("web: {port: 1.5}", "must be a whole number, not 1.5"),
        ("web: {host: 1}", "must be text; put it in quotes, not 1"),
        ("web: {host: ''}", "must not be empty"),
        ("web: 3", "must be a mapping, lines of `key: value`"),
        ("kafka: {bootstrap_servers: a, topics: {labels: a b}}", "must be 1 to 249 of the characters"),
        ("privacy: {dead_letter_payloads: maybe}", "must be keep, redact or none, not maybe"),
        ("limits: {max_future: 10}", "must be a number with a unit (ms, s, m, h or d), such as 10s or 1.5h, not 10"),
        ("limits: {features_max: 0}", "must be at least 1, not 0"),
    ],
)
def test_a_value_of_the_wrong_kind_is_told_in_words(config: Path, section: str, words: str) -> None:
    [problem] = problems(config, MODEL + section + "\n")

    assert problem.startswith("monitor.yaml:2: ")
    assert words in problem


def test_an_empty_section_means_its_defaults(config: Path) -> None:
    loaded = load(config, "web:\nmodels:\n  m:\n    task: binary\n    reference: {first_events: 9}\n    labels:\n")

    assert loaded.web.port == 0
    assert loaded.models["m"].has_labels


def test_an_empty_file_says_what_it_needs(config: Path) -> None:
    assert problems(config, "") == ["monitor.yaml:1: models: is required"]
    assert problems(config, "models: {}\n") == ["monitor.yaml:1: models: must name at least one"]


def test_a_file_that_is_no_mapping_says_how_to_begin(config: Path) -> None:
    assert problems(config, "- a\n") == [
        "monitor.yaml:1: must be a mapping, lines of `key: value`; begin with `models:`"
    ]


def test_a_file_that_is_not_yaml_names_the_line(config: Path) -> None:
    [problem] = problems(config, "web: {\nmodels: [\n")

    assert problem.startswith("monitor.yaml:3: is not valid YAML: ")


def test_a_file_that_is_not_there_or_is_none_says_so(config: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no such file; `driftline init FILE` writes one"):
        load_settings(config, {})
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(config.parent, {})
    config.write_bytes(b"PAR1\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"is not UTF-8 text; is it a data file\?"):
        load_settings(config, {})
    config.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(ConfigurationError, match="is larger than 4 MiB"):
        load_settings(config, {})


def test_a_relative_path_is_one_below_the_configurations_folder(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    config.write_text(
        "models: {m: {task: binary, reference: {path: data/r.csv}}, n: {task: binary, reference: {path: /r}}}"
    )
    monkeypatch.chdir(config.parent)

    by_name = load_settings(Path("monitor.yaml"), {})
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))

    for loaded in (by_name, load_settings(config, {})):
        paths = [loaded.models[name].reference.path for name in "mn"]  # type: ignore[union-attr]
        assert paths == [config.parent / "data" / "r.csv", Path("/r")]


_KEYS = st.sampled_from(
    ["task", "reference", "path", "first_events", "windows", "length", "slide", "pane", "features", "name", "type",
     "labels", "horizon", "performance", "metrics", "floor", "recall", "drift", "detectors", "versions", "x", "1"]
)  # fmt: skip


@hypothesis_settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda below: st.lists(below, max_size=3) | st.dictionaries(_KEYS, below, max_size=4),
        max_leaves=12,
    )
)
def test_whatever_stands_in_the_file_is_loaded_or_refused_with_lines(config: Path, value: Any) -> None:
    config.write_text(yaml.safe_dump({"models": {"m": value}}, allow_unicode=True))

    told: tuple[str, ...] = ()
    try:
        load_settings(config, {})
    except ConfigurationError as error:
        told = error.problems

    assert [problem for problem in told if not problem.startswith(f"{config}:")] == []
