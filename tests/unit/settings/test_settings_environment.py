"""Do variables of the environment override what the file says, and is one that names nothing told?"""

from pathlib import Path

import pytest

from tests.support.configurations import MODEL, load, problems


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
