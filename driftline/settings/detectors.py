"""Which detectors may a configuration name? Those of `detectors`, which this layer may not import; tests hold both."""

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator

from driftline.settings.schema import nearest
from driftline.settings.values import refuse_value

WindowDetector = Literal["psi", "js", "hellinger", "chi2", "linf", "ks", "wasserstein"]
SequentialDetector = Literal["adwin", "page_hinkley", "cusum", "ddm", "hddm_a"]

WINDOW_DETECTORS: tuple[WindowDetector, ...] = get_args(WindowDetector)
"""Detectors that compare a window's distribution with the reference's."""

SEQUENTIAL_DETECTORS: tuple[SequentialDetector, ...] = get_args(SequentialDetector)
"""Detectors that watch means and shares from pane to pane; classes of `river.drift` may join them by name."""

PLUGIN_PREFIX = "river.drift."

NO_DETECTORS = {"NoDrift": "never says drift", "DummyDriftDetector": "says drift whatever comes"}
"""Classes that river has to compare detectors with, and why they are none."""


def known_detector(name: str) -> str:
    """Refuse what is no detector, with the reason where there is one."""
    if name == "eddm" or name.startswith(f"{PLUGIN_PREFIX}binary."):
        refuse_value(
            f"{name} needs single errors in their order, which panes do not keep; ddm and hddm_a watch an error rate"
        )
    if name.startswith(PLUGIN_PREFIX):
        _look_up(name)
    elif name not in WINDOW_DETECTORS and name not in SEQUENTIAL_DETECTORS:
        known: list[str] = [*WINDOW_DETECTORS, *SEQUENTIAL_DETECTORS]
        near = nearest(name, [*_river_classes(), *known])  # ours win where both have one of that name
        meant = f"{'' if near in known else PLUGIN_PREFIX}{near}"
        listed = f"{', '.join(known)}, or a class of river such as {PLUGIN_PREFIX}KSWIN"
        refuse_value(f"{name} is no detector; {f'did you mean {meant}? ' if near else ''}known: {listed}")
    return name


def _look_up(name: str) -> None:
    if find_spec("river") is None:
        refuse_value(f"{name} needs river, which is not installed: pip install 'driftline[river]'")
    cls, known = name.removeprefix(PLUGIN_PREFIX), _river_classes()
    if cls in NO_DETECTORS:
        refuse_value(f"{name} {NO_DETECTORS[cls]}: river compares detectors with it; it has {', '.join(known)}")
    if cls not in known:
        refuse_value(f"{name} is no drift detector of river; it has {', '.join(known)}")


def _river_classes() -> list[str]:
    """Name the drift detectors that river has; none where it is not installed."""
    if find_spec("river") is None:
        return []
    drift, base = import_module("river.drift"), import_module("river.base")
    classes = {each: kind for each, kind in vars(drift).items() if isinstance(kind, type)}
    known = (each for each, kind in classes.items() if issubclass(kind, base.DriftDetector))
    return sorted(set(known) - NO_DETECTORS.keys())


Detector = Annotated[str, AfterValidator(known_detector)]
