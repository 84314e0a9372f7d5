"""Every sequential detector obeys the same laws, whichever it is."""

from collections.abc import Iterator

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from detectors.budget import CUTS_A_DELTA
from detectors.reference.building import numeric_feature
from detectors.reference.profile import standardised_steps
from detectors.sequential.adwin import EVENTS_MAX
from detectors.sequential.cuts import Cut
from detectors.sequential.plugin import MEANS_MAX
from detectors.sequential.registry import SEQUENTIAL, Bank, make_bank
from driftline.settings.detectors import SEQUENTIAL_DETECTORS
from driftline.settings.models import DriftSettings

DELTA = 0.002
PLUGINS = ("river.drift.ADWIN", "river.drift.PageHinkley", "river.drift.KSWIN")
OURS = pytest.mark.parametrize("name", SEQUENTIAL)
ALL = pytest.mark.parametrize("name", [*SEQUENTIAL, *PLUGINS])
Panes = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


def shares(name: str, series: int = 1, effect: float = 0.05, snapshot: bytes | None = None) -> Bank:
    one = np.ones(series)
    return make_bank(name, DELTA, one, one, one * effect, snapshot)


def means(name: str, series: int = 1, effect: float = 0.25) -> Bank:
    one = np.ones(series)
    return make_bank(name, DELTA, one * 16, one / 4096, one * effect)


def flags(seed: int, chances: list[float], n: int = 100, series: int = 1) -> Panes:
    """Make panes of n events each, one for each chance that an event is a 1."""
    generator = np.random.default_rng(seed)
    for chance in chances:
        ones = generator.binomial(n, chance, series)
        yield np.full(series, n), ones, ones


def values(rows: np.ndarray, reference: np.ndarray) -> Panes:
    """Make panes of the rows of a matrix, standardised as a profile does."""
    feature = numeric_feature("x", reference, np.isnan(reference), 10)
    for row in rows:
        steps = standardised_steps(feature, row)
        yield tuple(np.array([total]) for total in (np.isfinite(row).sum(), steps.sum(), (steps * steps).sum()))


def alarms(bank: Bank, panes: Panes) -> list[int]:
    return [number for number, pane in enumerate(panes) if bank.update(*pane, number).detected.any()]


def test_the_registry_and_the_settings_name_the_same() -> None:
    assert tuple(SEQUENTIAL) == SEQUENTIAL_DETECTORS


def test_a_configuration_may_name_ours_and_rivers_and_is_told_why_not_others() -> None:
    allowed = ("psi", "cusum", "river.drift.KSWIN")
    assert DriftSettings(detectors=allowed).sequential == ("cusum", "river.drift.KSWIN")
    for name, why in {
        "eddm": "order",
        "river.drift.binary.DDM": "order",
        "river.drift.Nothing": "no drift detector of river",
        "kolmogorov": "is no detector",
        "KSWIN": r"did you mean river\.drift\.KSWIN\?",
        "ADWIN": r"did you mean adwin\?",
        "kss": r"did you mean ks\?",
        "river.drift.NoDrift": "never says drift",
        "river.drift.DummyDriftDetector": "says drift whatever comes",
    }.items():
        with pytest.raises(ValidationError, match=why):
            DriftSettings(detectors=(name,))


@ALL
def test_the_same_panes_give_the_same_verdicts_and_a_snapshot_goes_on_with_them_anywhere(name: str) -> None:
    panes = list(flags(1, [0.2] * 60 + [0.6] * 40, series=3))

    def told(cut: Cut) -> list[list[float]]:
        return [column.tolist() for column in cut]

    whole = shares(name, 3)
    expected = [told(whole.update(*pane, number)) for number, pane in enumerate(panes)]
    for cut_at in (0, 1, 30, 61, 99):
        bank = shares(name, 3)
        before = [told(bank.update(*pane, number)) for number, pane in enumerate(panes[:cut_at])]
        again = shares(name, 3, snapshot=bank.snapshot())
        assert told(again.clearest()) == told(bank.clearest())
        after = [told(again.update(*pane, cut_at + number)) for number, pane in enumerate(panes[cut_at:])]
        assert before + after == expected
        assert again.snapshot() == whole.snapshot()


@ALL
def test_a_state_of_another_specification_or_half_of_one_is_refused(name: str) -> None:
    bank = shares(name, 2)
    alarms(bank, flags(2, [0.2] * 5, series=2))
    with pytest.raises(ValueError, match="another specification"):
        shares(name, 2, effect=0.1, snapshot=bank.snapshot())
    with pytest.raises(ValueError, match="incomplete"):
        shares(name, 2, snapshot=bank.snapshot()[:-8])
    with pytest.raises(ValueError, match="at least 0"):
        bank.update(np.array([1, -1]), np.array([0, 0]), np.array([0, 0]))


@ALL
def test_the_state_is_bounded(name: str) -> None:
    bank, sizes = shares(name), []
    for number, pane in enumerate(flags(3, [0.2] * (3 * MEANS_MAX // 2), n=20)):
        bank.update(*pane, number)
        sizes.append(len(bank.snapshot()))
    assert max(sizes) <= 24 * MEANS_MAX + 24
    assert max(sizes[MEANS_MAX:]) <= 1.3 * max(sizes[:MEANS_MAX])


@OURS
def test_the_largest_panes_do_not_overflow(name: str) -> None:
    bank, n, step = means(name), EVENTS_MAX // 4, 2**15
    for _ in range(12):
        cut = bank.update(np.array([n]), np.array([n * step]), np.array([n * step * step]))
        assert not cut.detected[0]
        assert np.isfinite([cut.gap, cut.epsilon]).all()
    other = bank.update(np.array([n]), np.array([-n * step]), np.array([n * step * step]))
    assert np.isfinite([other.gap, other.epsilon]).all()


@ALL
def test_nan_and_infinity_blind_nothing_to_a_later_jump(name: str) -> None:
    generator = np.random.default_rng(4)
    rows = np.concatenate([generator.normal(0, 1, (120, 100)), generator.normal(3, 1, (60, 100))])
    rows[5] = np.nan
    rows[6, :3] = np.inf, -np.inf, 1e300
    found = alarms(means(name), values(rows, generator.normal(0, 1, 1000)))
    assert found
    assert min(found) >= 120


@ALL
def test_the_same_jump_is_found_at_every_scale_and_offset(name: str) -> None:
    generator = np.random.default_rng(5)
    reference, rows = generator.normal(size=1000), generator.normal(size=(120, 100))
    rows[60:] += 2.0
    found = [
        alarms(means(name), values(rows * scale + offset, reference * scale + offset))
        for scale, offset in ((1.0, 0.0), (2.0**-10, 0.0), (2.0**10, 0.0), (1.0, 1024.0))
    ]
    assert found[0]
    assert found == [found[0]] * 4


@ALL
def test_constants_and_one_odd_event_among_them_do_not_drift(name: str) -> None:
    for n in (1, 7, 1000):
        for usual, odd in ((0, 1), (n, n - 1)):
            bank = shares(name, effect=0.01)
            panes = [usual] * 100 + [odd] + [usual] * 100
            columns = ((np.array([n]), np.array([ones]), np.array([ones])) for ones in panes)
            assert alarms(bank, columns) == []
    bank = means(name)
    zeros = [(np.array([50]), np.array([0]), np.array([0]))] * 80
    outlier = (np.array([50]), np.array([2**15]), np.array([2**30]))
    assert alarms(bank, iter([*zeros, outlier, *zeros])) == []


@ALL
def test_panes_without_events_change_nothing(name: str) -> None:
    bank, other = shares(name, 2), shares(name, 2)
    nothing = np.zeros(2, np.int64)
    for number, pane in enumerate(flags(6, [0.2] * 30, series=2)):
        bank.update(*pane, number)
        other.update(*pane, number)
        empty = other.update(nothing, nothing, nothing, number)
        assert not empty.detected.any()
    assert bank.snapshot() == other.snapshot()
    fresh = shares(name, 2).clearest()
    assert fresh.n_old.tolist() == [0, 0]
    assert np.isfinite([fresh.gap, fresh.epsilon]).all()
    assert (fresh.epsilon > 0).all()


@OURS
@pytest.mark.parametrize(("n", "chance"), [(20, 0.02), (50, 0.3), (1000, 0.5)])
def test_false_alarms_are_rarer_than_delta_a_pane(name: str, n: int, chance: float) -> None:
    bank, false = shares(name, 200), 0
    for number, pane in enumerate(flags(7, [chance] * 300, n=n, series=200)):
        false += int(bank.update(*pane, number).detected.sum())
    # 60,000 panes: the 1 - 1e-6 quantile at half of delta.
    assert false <= stats.binom.ppf(1 - 1e-6, 60_000, DELTA / 2)


@OURS
@pytest.mark.parametrize(("n", "chance"), [(20, 0.05), (50, 0.3), (200, 0.3), (100, 0.5)])
def test_false_alarms_are_as_rare_as_the_budget_reckons(name: str, n: int, chance: float) -> None:
    series, panes = 2000, 200
    bank, false = shares(name, series), 0
    for number, pane in enumerate(flags(13, [chance] * panes, n=n, series=series)):
        false += int(bank.update(*pane, number).detected.sum())
    assert false <= stats.binom.ppf(1 - 1e-3, series * panes, DELTA * CUTS_A_DELTA[name])


@pytest.mark.parametrize(
    ("name", "series", "rate"),
    [("river.drift.ADWIN", 400, 0.0), ("river.drift.PageHinkley", 400, 0.0), ("river.drift.KSWIN", 30, 3 / 40_000)],
)
def test_false_alarms_of_a_plug_in_are_as_rare_as_the_statistics_tell(name: str, series: int, rate: float) -> None:
    panes, sizes, false = 400, (20, 100, 1000), 0
    for n in sizes:
        bank = shares(name, series)
        for number, pane in enumerate(flags(15, [0.3] * panes, n=n, series=series)):
            false += int(bank.update(*pane, number).detected.sum())
    assert false <= stats.binom.ppf(1 - 1e-3, len(sizes) * series * panes, rate)


@OURS
@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("mixed", [0.0, 0.3, 0.5, 0.8], ids="{:.0%} of a pane before it".format)
def test_one_change_is_one_alarm_with_its_time_and_direction(name: str, mixed: float, n: int) -> None:
    series, panes = 50, 60
    for before, after in ((0.2, 0.6), (0.6, 0.2)):
        bank = shares(name, series)
        count, first = np.zeros(series, np.int64), np.full(series, -1)
        halfway = mixed * before + (1 - mixed) * after
        for number, pane in enumerate(flags(8, [before] * panes + [halfway] + [after] * panes, n, series)):
            cut = bank.update(*pane, 1000 * number)
            first = np.where(cut.detected & (first < 0), number, first)
            if cut.detected.any() and number >= panes:
                told = cut.detected & (count == 0)
                assert (np.sign(cut.gap[told]) == np.sign(after - before)).all()
                assert (cut.n_old[told] >= 30).all()
                assert (np.abs(cut.gap[cut.detected]) >= cut.epsilon[cut.detected]).all()
            count += cut.detected
        assert count.min() == 1
        # Beyond the one there are as many as are false in so many panes: 1 to 4 of 50 series.
        assert count.sum() - series <= stats.binom.ppf(1 - 1e-3, 2 * panes * series, DELTA * CUTS_A_DELTA[name])
        assert np.median(first) <= 75


@OURS
def test_a_second_change_soon_after_the_first_is_found_as_well(name: str) -> None:
    alarmed = np.zeros((90, 100), np.bool_)
    bank = shares(name, 100)
    for number, pane in enumerate(flags(14, [0.2] * 40 + [0.6] * 20 + [0.2] * 30, series=100)):
        alarmed[number] = bank.update(*pane, number).detected
    # Page-Hinkley compares with a mean that follows what is new, so a few of its second changes are over unnoticed.
    assert alarmed[40:60].any(axis=0).mean() >= 0.99
    assert alarmed[60:].any(axis=0).mean() >= 0.96


@ALL
def test_a_change_below_the_effect_is_none_however_certain(name: str) -> None:
    day_and_night = [0.20 if hour % 24 < 12 else 0.22 for hour in range(96)]
    assert alarms(shares(name, effect=0.05), flags(9, day_and_night, n=100_000)) == []


@ALL
def test_a_series_without_neighbours_says_the_same(name: str) -> None:
    panes = list(flags(10, [0.2] * 40 + [0.5] * 30, series=4))
    together, alone = shares(name, 4), shares(name)
    for number, pane in enumerate(panes):
        cut = together.update(*pane, number)
        single = alone.update(*(column[2:3] for column in pane), number)
        assert cut.detected[2] == single.detected[0]
        if single.detected[0]:
            assert [column[2] for column in cut] == [column[0] for column in single]


@pytest.mark.parametrize("name", ["adwin", "page_hinkley", "cusum"])
def test_a_first_pane_without_errors_by_chance_does_not_hide_a_change_to_many_later(name: str) -> None:
    # Such a pane has a mean and a deviation of 0, from which the usual one in twelve looks like a rise for ever.
    bank, nothing = shares(name), (np.array([50]), np.array([0]), np.array([0]))
    assert alarms(bank, iter([nothing, *flags(11, [0.08] * 199, n=50)])) == []
    assert min(alarms(bank, flags(12, [0.5] * 10, n=50))) <= 3


@pytest.mark.parametrize("name", ["adwin", "page_hinkley", "cusum", "hddm_a"])
def test_no_lucky_beginning_hides_a_change_for_good(name: str) -> None:
    """Of many series some begin with few errors; all are found after 10,000 events, within the 3,000 that follow."""
    series = 200
    bank, found = shares(name, series), np.zeros(series, np.int64)
    for number, pane in enumerate(flags(7, [0.2] * 200 + [0.35] * 60, 50, series)):
        found += (number >= 200) & bank.update(*pane, number).detected
    assert np.count_nonzero(found) == series
