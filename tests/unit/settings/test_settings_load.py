"""Does a configuration file that is wrong say everything that is wrong, where, and what was probably meant?"""

import os
import traceback
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from driftline.errors import ConfigurationError
from driftline.settings import Settings, load_settings

MODEL = "models: {m: {task: binary, reference: {first_events: 1000}}}\n"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "monitor.yaml"


def load(config: Path, text: str, **environ: str) -> Settings:
    config.write_text(dedent(text))
    return load_settings(config, environ)


def problems(config: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(config, text, **environ)
    return [problem.removeprefix(f"{config.parent}{os.sep}") for problem in caught.value.problems]


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


def test_the_environment_overrides_the_file(config: Path) -> None:
    text = "web: {port: 1}\nmodels: {Fraud-EU: {task: binary, reference: {first_events: 9}, performance: {}}}\n"

    loaded = load(
        config,
        text,
        DRIFTLINE__WEB__PORT="8080",
        DRIFTLINE__KAFKA__BOOTSTRAP_SERVERS="broker:9092",
        DRIFTLINE__MODELS__FRAUD_EU__WINDOWS__LENGTH="2h",
        DRIFTLINE__MODELS__FRAUD_EU__DRIFT__DETECTORS="[psi]",
        DRIFTLINE__MODELS__FRAUD_EU__PERFORMANCE__FLOOR__RECALL="0.5",
        DRIFTLINE__MODELS__FRAUD_EU__FEATURES="auto",
        DRIFTLINE__PRIVACY__DEAD_LETTER_PAYLOADS="false",
        DRIFTLINE_TEST_KAFKA="not ours",
    )

    model = loaded.models["Fraud-EU"]
    assert loaded.web.port == 8080
    assert loaded.kafka is not None
    assert model.windows.length_ms == 7_200_000
    assert model.drift.detectors == ("psi",)
    assert model.performance is not None
    assert model.performance.floor == {"recall": 0.5}
    assert loaded.privacy.dead_letter_payloads == "none"


@pytest.mark.parametrize("text", ["123456", "@at", "*star", "a: b # c", "true", "'quoted'", "[list"])
def test_text_in_the_environment_is_taken_as_it_stands(config: Path, text: str) -> None:
    loaded = load(
        config,
        MODEL + "kafka: {bootstrap_servers: b, security: {protocol: sasl_ssl, sasl_mechanism: PLAIN, username: me}}\n",
        DRIFTLINE__KAFKA__SECURITY__PASSWORD=text,
    )

    assert loaded.kafka is not None
    assert loaded.kafka.security.password is not None
    assert loaded.kafka.security.password.get_secret_value() == text


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("DRIFTLINE__KAFA__GROUP", "did you mean DRIFTLINE__KAFKA__GROUP?"),
        ("DRIFTLINE__KAFKA__BOOTSTRAP_SERVER", "did you mean DRIFTLINE__KAFKA__BOOTSTRAP_SERVERS?"),
        ("DRIFTLINE__MODELS__N__TASK", "names no setting; the file's models: m; a new one must stand there first"),
        (
            "DRIFTLINE__ALERTS__WEBHOOKS__PAGER__SECRET",
            "file's alerts.webhooks: none; a new one must stand there first",
        ),
        ("DRIFTLINE__MODELS__M__WINDOWS__MIN_EVENT", "did you mean DRIFTLINE__MODELS__M__WINDOWS__MIN_EVENTS?"),
        (
            "DRIFTLINE__MODELS__M__PERFORMANCE__FLOOR__RECAL",
            "did you mean DRIFTLINE__MODELS__M__PERFORMANCE__FLOOR__RECALL?",
        ),
        ("DRIFTLINE__WEB__PORT__X", "DRIFTLINE__WEB__PORT has no fields"),
        ("DRIFTLINE__WEB", "add a field, such as DRIFTLINE__WEB__HOST"),
        ("DRIFTLINE__", "known: kafka, postgres, web, privacy, limits, models, outbox, retention, alerts"),
    ],
)
def test_a_variable_that_names_no_setting_is_told_with_the_nearest_that_does(
    config: Path, variable: str, remedy: str
) -> None:
    [problem] = problems(config, MODEL, **{variable: "1"})

    assert problem.startswith(f"{variable}: ")
    assert problem.endswith(remedy)


def test_a_variable_that_fits_two_models_is_refused(config: Path) -> None:
    text = (
        "models: {a-b: {task: binary, reference: {first_events: 9}}, A b: {task: binary, reference: {first_events: 9}}}"
    )

    [problem] = problems(config, text, DRIFTLINE__MODELS__A_B__TASK="binary")

    assert problem == "DRIFTLINE__MODELS__A_B__TASK: fits a-b and A b; set it in the file"


def test_a_problem_with_an_overridden_value_names_the_variable_and_not_the_line(config: Path) -> None:
    text = MODEL.replace("}}}", "}, segments: [a, b]}}")

    assert problems(config, text, DRIFTLINE__MODELS__M__SEGMENTS="[c, 1]") == [
        "DRIFTLINE__MODELS__M__SEGMENTS: models.m.segments.1: must be text; put it in quotes, not 1"
    ]
    [problem] = problems(config, text, DRIFTLINE__MODELS__M__SEGMENTS="[c")
    assert problem == "DRIFTLINE__MODELS__M__SEGMENTS: its value is not valid YAML; put it in quotes"


def test_an_override_below_something_that_is_no_mapping_leaves_the_files_own_problem(config: Path) -> None:
    assert problems(config, MODEL + "web: 3\n", DRIFTLINE__WEB__PORT="1") == [
        "monitor.yaml:2: web: must be a mapping, lines of `key: value`"
    ]


SECRETS = """\
kafka:
  bootstrap_servers: b
  security: {protocol: sasl_ssl, sasl_mechanism: PLAIN, username: me, password: hunter2-kafka}
postgres: {url: "postgresql://me:hunter2@db/ml"}
privacy: {id_key: hunter2-hunter2-hunter2}
alerts: {webhooks: {chat: {url: "https://me:hunter2@chat/hunter2", secret: whsec_hunter2ahunter2ahunter2ahunter2a}}}
"""


UNESCAPED = [
    "me:hunter2/x@db",
    "me:1/hunter2@db",
    "me:hunter2@x@db",
    "me:x@hunter2@db",
    "me:hunter2?x@db",
    "me:1#hunter2@db",
]
"""Passwords that were not percent-encoded: where they end and the server begins, everybody reads otherwise."""


def test_a_secret_is_in_no_text_of_the_settings(config: Path) -> None:
    loaded = load(config, MODEL + SECRETS)

    assert loaded.postgres is not None
    assert loaded.postgres.url.get_secret_value() == "postgresql://me:hunter2@db/ml"
    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), str(loaded.model_dump())):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    "text",
    [
        SECRETS.replace("postgresql:", "mysql:"),
        SECRETS.replace("hunter2-hunter2-hunter2", "hunter2"),
        SECRETS.replace("password:", "pasword:"),
        *(SECRETS.replace("me:hunter2@db", odd) for odd in UNESCAPED),
        SECRETS.replace("@db/ml", "@db:hunter2/ml"),
        SECRETS.replace("https:", "ftp:"),
        SECRETS.replace("@chat", "@[chat"),
        SECRETS.replace("@chat", "@chat:hunter2"),
        SECRETS.replace("whsec_", "wsec_"),
        SECRETS.replace("whsec_hunter2a", "whsec_hunter2-"),
        SECRETS.replace("whsec_hunter2ahunter2a", "whsec_"),
        SECRETS.replace("url: ", "uri: "),
        SECRETS.replace("url: ", "models: [n], url: "),
        "alerts: {webhooks: {chat: https://chat/hunter2}}\n",
        "alerts: {webhooks: [https://chat/hunter2]}\n",
        SECRETS.replace("PLAIN", "PLAN"),
        SECRETS.replace("protocol: sasl_ssl", "protocol: ssl"),
        SECRETS.replace("hunter2-kafka", "[hunter2]"),
        SECRETS.replace("hunter2-kafka", "{hunter2: hunter2}"),
        SECRETS.replace("hunter2-kafka", "*hunter2"),
        'postgres: "postgresql://me:hunter2@db/ml"\n',
        "postgres: [postgresql://me:hunter2@db/ml]\n",
        "postgres: {url:postgresql://me:hunter2@db/ml}\n",
        "kafka: {bootstrap_servers: b, security: hunter2}\n",
        "kafka: {bootstrap_servers: b, security: {password:hunter2}}\n",
        "privacy: {id_key: 1234567890123456789}\nweb: {port: x}\n",
    ],
)
def test_a_secret_is_in_no_problem_and_in_no_traceback(config: Path, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(config, MODEL + text)

    told = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in told
    assert "1234567890123456789" not in told


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
