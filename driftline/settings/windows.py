"""Over which stretches of event time is a model judged, and of which panes are they made?

Invariants: a window and a slide are a whole number of panes, so every window is a union of panes; a slide is no longer
than its window, so no event falls between two windows.
"""

import math

from pydantic import Field, ValidationInfo, field_validator

from driftline.settings.values import AUTO, DurationMs, Section, format_duration, refuse_value

PANES_A_SLIDE = 60
PANE_MS_MIN = 1_000
PANE_MS_MAX = 600_000
PANES_A_WINDOW_MAX = 100_000  # what closing one window may read
LOOKBACK_LENGTHS = 7

SEASONS = {86_400_000: 7, 604_800_000: 4}
"""Seasons by their period, a day and a week: how many past ones a window is compared with at most."""

SEASONS_MIN = 3
"""Of so many past seasons something must be known, before a window is compared with them."""


def choose_pane_ms(length_ms: int, slide_ms: int) -> int | None:
    """Choose the pane for a window and its slide: about a sixtieth of the slide, between 1 s and 10 min.

    Parameters
    ----------
    length_ms, slide_ms : int
        The window and its slide in milliseconds, both positive.

    Returns
    -------
    int or None
        The largest divisor of both that is at least 1 s and at most a sixtieth of the slide, which is first clipped to
        1 s and 10 min; if there is none, the smallest divisor from 1 s to 10 min; None where there is none either.

    Examples
    --------
    >>> choose_pane_ms(3_600_000, 3_600_000), choose_pane_ms(604_800_000, 86_400_000), choose_pane_ms(10_007, 10_007)
    (60000, 600000, 10007)
    """
    panes_ms = [
        pane_ms for pane_ms in _divisors(math.gcd(length_ms, slide_ms)) if PANE_MS_MIN <= pane_ms <= PANE_MS_MAX
    ]
    wanted_ms = min(max(slide_ms // PANES_A_SLIDE, PANE_MS_MIN), PANE_MS_MAX)
    return max((pane for pane in panes_ms if pane <= wanted_ms), default=min(panes_ms, default=None))


def _divisors(number: int) -> set[int]:
    small = [divisor for divisor in range(1, math.isqrt(number) + 1) if number % divisor == 0]
    return {*small, *(number // divisor for divisor in small)}


class WindowSettings(Section):
    """How event time is cut into windows and panes, and how long a window waits for its events."""

    length_ms: DurationMs = Field(default=3_600_000, gt=0, alias="length")
    slide_ms: DurationMs = Field(default_factory=lambda before: before["length_ms"], gt=0, alias="slide")
    pane_ms: DurationMs = Field(default=AUTO, validate_default=True, gt=0, alias="pane")
    out_of_orderness_ms: DurationMs = Field(default=5_000, alias="out_of_orderness")
    allowed_lateness_ms: DurationMs = Field(default=120_000, alias="allowed_lateness")
    idle_after_ms: DurationMs = Field(default=30_000, gt=0, alias="idle_after")
    restate_after_ms: DurationMs = Field(default=30_000, alias="restate_after")
    min_events: int = Field(default=500, ge=1)
    lookback_max_ms: DurationMs = Field(
        default_factory=lambda before: LOOKBACK_LENGTHS * before["length_ms"], alias="lookback_max"
    )
    seasonality_ms: DurationMs | None = Field(default=None, alias="seasonality")

    @property
    def reach_ms(self) -> int:
        """How far a window with few events reaches back; no further than a season, lest it meet its like phases."""
        return min(self.lookback_max_ms, self.seasonality_ms or self.lookback_max_ms)

    @property
    def seasons_ms(self) -> int:
        """How far back the like phases of past seasons lie, at most."""
        return 0 if self.seasonality_ms is None else self.seasonality_ms * SEASONS[self.seasonality_ms]

    @field_validator("slide_ms")
    @classmethod
    def _leaves_no_gap(cls, slide_ms: int, info: ValidationInfo) -> int:
        length_ms = info.data.get("length_ms", slide_ms)
        if slide_ms > length_ms:
            refuse_value(
                f"{format_duration(slide_ms)} is longer than the length {format_duration(length_ms)}, "
                "so events between two windows would never be judged"
            )
        return slide_ms

    @field_validator("pane_ms", mode="before")
    @classmethod
    def _auto(cls, pane: object, info: ValidationInfo) -> object:
        if pane != AUTO:
            return pane
        if not {"length_ms", "slide_ms"} <= info.data.keys():
            return format_duration(PANE_MS_MIN)  # nothing to choose from; the window fails for its length or slide
        pane_ms = choose_pane_ms(info.data["length_ms"], info.data["slide_ms"])
        if pane_ms is None:
            refuse_value("nothing from 1s to 10m divides both length and slide; use rounder durations or set a pane")
        return format_duration(pane_ms)

    @field_validator("pane_ms")
    @classmethod
    def _fills_the_window(cls, pane_ms: int, info: ValidationInfo) -> int:
        for name in ("length", "slide"):
            whole_ms = info.data.get(f"{name}_ms", pane_ms)
            if whole_ms % pane_ms:
                refuse_value(f"{format_duration(pane_ms)} does not divide the {name} {format_duration(whole_ms)}")
        panes = info.data.get("length_ms", pane_ms) // pane_ms
        if panes > PANES_A_WINDOW_MAX:
            refuse_value(f"makes {panes} panes a window, more than {PANES_A_WINDOW_MAX}; set a longer pane or slide")
        return pane_ms

    @field_validator("lookback_max_ms")
    @classmethod
    def _reaches_a_window(cls, lookback_max_ms: int, info: ValidationInfo) -> int:
        length_ms = info.data.get("length_ms", lookback_max_ms)
        if lookback_max_ms < length_ms:
            refuse_value(f"must be at least the length {format_duration(length_ms)}")
        return lookback_max_ms

    @field_validator("seasonality_ms")
    @classmethod
    def _repeats(cls, seasonality_ms: int | None, info: ValidationInfo) -> int | None:
        if seasonality_ms is None:
            return None
        if seasonality_ms not in SEASONS:
            refuse_value(f"must be 24h or 7d, not {format_duration(seasonality_ms)}")
        slide_ms, length_ms = (info.data.get(name, seasonality_ms) for name in ("slide_ms", "length_ms"))
        if seasonality_ms % slide_ms:
            refuse_value(f"is no whole number of slides of {format_duration(slide_ms)}, so no window has a like phase")
        if length_ms > seasonality_ms:
            refuse_value(
                f"is shorter than the length {format_duration(length_ms)}, so windows overlap their like phases"
            )
        return seasonality_ms
