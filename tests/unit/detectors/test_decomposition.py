"""Do the parts of a metric's change add up to it, and are other inputs told from other answers?"""

import numpy as np
import pytest

from detectors.metrics.decomposition import decompose

CHANCE = np.random.default_rng(2)


@pytest.mark.parametrize("parts", [1, 2, 50])
def test_contributions_add_up_to_the_change(parts: int) -> None:
    for _ in range(50):
        before, after = (
            np.stack([CHANCE.binomial(sizes, CHANCE.random(parts)), sizes], axis=1)
            for sizes in CHANCE.integers(0, 1_000, (2, parts)) + (np.arange(parts) == 0)
        )
        found = decompose(before, after)
        change = after[:, 0].sum() / after[:, 1].sum() - before[:, 0].sum() / before[:, 1].sum()

        assert found.mix.sum() + found.rate.sum() == pytest.approx(change, abs=1e-12)


def test_other_inputs_alone_are_all_mix_and_other_answers_alone_are_all_rate() -> None:
    before = np.array([[90, 100], [100, 200]])

    inputs = decompose(before, np.array([[45, 50], [200, 400]]))
    answers = decompose(before, np.array([[60, 100], [100, 200]]))

    assert inputs.rate.tolist() == [0.0, 0.0]
    assert inputs.mix.sum() == pytest.approx(245 / 450 - 190 / 300, abs=1e-12)
    assert answers.mix.tolist() == [0.0, 0.0]
    assert answers.rate.tolist() == pytest.approx([-0.3 / 3, 0.0], abs=1e-12)


def test_a_part_that_is_new_or_gone_has_no_rate() -> None:
    found = decompose(np.array([[90, 100], [0, 0], [5, 10]]), np.array([[90, 100], [0, 100], [0, 0]]))

    assert found.rate.tolist() == [0.0, 0.0, 0.0]
    assert found.mix[1] < 0
