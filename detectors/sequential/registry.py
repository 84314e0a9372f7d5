"""Which detectors watch series from pane to pane, and how is each of them made or gone on with?

Every one of them is a bank of many series that share their panes, and passes the laws in
`tests/unit/detectors/test_sequential_laws.py`. A detector that needs the order of single events, such as EDDM, which
looks at the number of events between two errors, has no place here: a pane keeps counts and sums, not who came first.
"""

from collections.abc import Callable
from functools import partial

from detectors.sequential.adwin import AdwinBank
from detectors.sequential.bank import Bank
from detectors.sequential.cuts import AdwinSpec, FloatArray
from detectors.sequential.plugin import PluginBank
from detectors.sequential.splits import RULES, SplitBank

PLUGIN_PREFIX = "river.drift."


Make = Callable[[float, FloatArray, FloatArray, FloatArray, bytes | None], Bank]


def _adwin(
    delta: float, ranges: FloatArray, units: FloatArray, effects: FloatArray, snapshot: bytes | None
) -> AdwinBank:
    spec = AdwinSpec(delta=delta)
    if snapshot is None:
        return AdwinBank(spec, ranges, units, effects)
    return AdwinBank.restore(spec, ranges, units, effects, snapshot)


def _split(
    rule: str, delta: float, ranges: FloatArray, units: FloatArray, effects: FloatArray, snapshot: bytes | None
) -> SplitBank:
    bank = SplitBank(rule, delta, ranges, units, effects)
    if snapshot is not None:
        bank.restore(snapshot)
    return bank


SEQUENTIAL: dict[str, Make] = {"adwin": _adwin, **{rule: partial(_split, rule) for rule in RULES}}
"""The sequential detectors by the names that they have in a configuration and in `v_drift`; plug-ins come beside."""


def make_bank(
    name: str, delta: float, ranges: FloatArray, units: FloatArray, effects: FloatArray, snapshot: bytes | None = None
) -> Bank:
    """Make the bank of a detector, or go on with one.

    Parameters
    ----------
    name
        One of `SEQUENTIAL`, or a class of `river.drift` such as ``river.drift.KSWIN``.
    delta
        Bound on the chance of a false change in each pane; a plug-in has its own default instead.
    ranges, units, effects
        See `detectors.sequential.adwin.AdwinBank`.
    snapshot
        State to go on from; None for a new bank.

    Raises
    ------
    ValueError
        If the snapshot was taken under another specification.
    ModuleNotFoundError, AttributeError, TypeError
        If river is not installed or has no such class.

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones(1)
    >>> bank = make_bank("hddm_a", 0.002, one, one, one * 0.05)
    >>> bank.update(np.array([100]), np.array([20]), np.array([20])).detected.tolist()
    [False]
    """
    if name.startswith(PLUGIN_PREFIX):
        return PluginBank(name, ranges, units, effects, snapshot)
    return SEQUENTIAL[name](delta, ranges, units, effects, snapshot)
