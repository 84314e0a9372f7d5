"""What is one panel, one variable, one annotation made of?

Each function takes what differs and fills in what this house wants everywhere: a title, a line that explains it, a
unit, a text for "nothing there", our data source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import barchart, common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import units

from dashboards.grafana import panel_statements

DATA_SOURCE_TYPE = "grafana-postgresql-datasource"
DATA_SOURCE_UID = "driftline"
DATA_SOURCE_VARIABLE = "datasource"

GREEN, YELLOW, RED, BLUE, GRAY = "green", "yellow", "red", "blue", "text"

Panel = Builder[models.Panel]
Steps = Sequence[tuple[float | None, str]]
"""From which value on (None for the lowest) which colour."""
NO_STEPS: Steps = ((None, GREEN),)

_SOURCE = models.DataSourceRef(DATA_SOURCE_TYPE, f"${{{DATA_SOURCE_VARIABLE}}}")


@dataclass(frozen=True, slots=True)
class Query(Dataquery, Builder[Dataquery]):
    """One of our statements, as the PostgreSQL data source takes it; the SDK has no type for that one.

    Parameters
    ----------
    statement
        Its name in `queries/`.
    form
        `table`, or `time_series` for rows of (time, metric, value).
    """

    statement: str
    form: str = "table"
    letter: str = "A"

    def build(self) -> Dataquery:
        """Return itself: there is nothing to be put together."""
        return self

    def to_json(self) -> dict[str, object]:
        """Write what Grafana keeps of a query."""
        return {
            "datasource": _SOURCE.to_json(),
            "editorMode": "code",
            "format": self.form,
            "rawQuery": True,
            "rawSql": panel_statements()[self.statement],
            "refId": self.letter,
        }


@dataclass(frozen=True, slots=True)
class Words:
    """What a panel says besides its data.

    Parameters
    ----------
    told
        One line that explains it to who looks at it for the first time.
    nothing
        What it shows where there is no data.
    """

    title: str
    told: str
    nothing: str


@dataclass(frozen=True, slots=True)
class Look:
    """How values are written and coloured.

    Parameters
    ----------
    width
        Of 24 columns.
    most
        The largest value of the axis; None where the data decides.
    """

    width: int
    unit: str = units.Short
    steps: Steps = NO_STEPS
    height: int = 8
    most: float | None = None
    columns: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Of a table or a set of series: what is different for some, by name."""


class _Described(Protocol):
    """What the builders of all kinds of panels can do, though they share no class."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def datasource(self, datasource: models.DataSourceRef) -> Self: ...
    def with_target(self, target: Builder[Dataquery]) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def thresholds(self, thresholds: Builder[models.ThresholdsConfig]) -> Self: ...
    def height(self, h: int) -> Self: ...
    def span(self, w: int) -> Self: ...


_P = TypeVar("_P", bound=_Described)


def _dressed(panel: _P, said: Words, look: Look, queries: Sequence[Query]) -> _P:
    """Give a panel what every panel has."""
    for query in queries:
        panel.with_target(query)
    steps = [models.Threshold(value, color) for value, color in look.steps]
    thresholds = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
    panel.title(said.title).description(said.told).no_value(said.nothing).datasource(_SOURCE)
    return panel.unit(look.unit).thresholds(thresholds).height(look.height).span(look.width)


def _properties(of: Mapping[str, object]) -> list[models.DynamicConfigValue]:
    return [models.DynamicConfigValue(name, value) for name, value in of.items()]


def one_number(statement: str, said: Words, look: Look) -> Panel:
    """Show the only value of a statement, its background in the colour of its step."""
    panel = stat.Panel().color_mode(words.BigValueColorMode.BACKGROUND).graph_mode(words.BigValueGraphMode.NONE)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    return _dressed(panel, said, look, [Query(statement)])


def rows_of(statement: str, said: Words, look: Look) -> Panel:
    """Show the rows of a statement; `look.columns` are by column."""
    panel = _dressed(table.Panel().filterable(True), said, look, [Query(statement)])
    for column, properties in look.columns.items():
        panel.override_by_name(column, _properties(properties))
    return panel


def over_time(statements: Sequence[str], said: Words, look: Look) -> Panel:
    """Draw rows of (time, metric, value); `look.columns` are by regular expression over the names of series."""
    queries = [Query(name, "time_series", chr(ord("A") + place)) for place, name in enumerate(statements)]
    panel = _dressed(timeseries.Panel(), said, look, queries)
    panel.line_width(2).fill_opacity(5).show_points(words.VisibilityMode.AUTO).span_nulls(True).min(0)
    if look.most is not None:
        panel.max(look.most)
    if len(look.steps) > 1:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.DASHED_AND_AREA))
    panel.tooltip(common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING))
    legend = common.VizLegendOptions().display_mode(words.LegendDisplayMode.TABLE).show_legend(True)
    panel.legend(legend.placement(words.LegendPlacement.BOTTOM).calcs(["lastNotNull", "max"]))
    for expression, properties in look.columns.items():
        panel.override_by_regexp(expression, _properties(properties))
    return panel


def bars(statement: str, label: str, said: Words, look: Look) -> Panel:
    """Draw a group of bars for each row, named by the column `label`."""
    panel = barchart.Panel().x_field(label).x_tick_label_rotation(-30).group_width(0.8).min(0)
    panel.orientation(words.VizOrientation.VERTICAL).show_value(words.VisibilityMode.NEVER)
    panel.tooltip(common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI))
    panel.legend(
        common.VizLegendOptions()
        .display_mode(words.LegendDisplayMode.LIST)
        .placement(words.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    return _dressed(panel, said, look, [Query(statement)])


ALL = "'*'"
"""What stands for "all" in our statements. Grafana puts it in as it is, so a list without options is valid SQL, too."""


def choice(name: str, statement: str, told: str, *, first: str | None = None) -> dashboard.QueryVariable:
    """Let people choose one value; `first` is chosen as long as nobody did and it is there, else the first row."""
    variable = _variable(name, statement, told)
    return variable.current(models.VariableOption(True, first, first)) if first is not None else variable


def several(name: str, statement: str, told: str) -> dashboard.QueryVariable:
    """Let people choose several values; all of them at first."""
    everything = models.VariableOption(True, ["All"], ["$__all"])
    return _variable(name, statement, told).multi(True).include_all(True).all_value(ALL).current(everything)


def _variable(name: str, statement: str, told: str) -> dashboard.QueryVariable:
    variable = dashboard.QueryVariable(name).label(name).description(told).datasource(_SOURCE)
    variable.query(panel_statements()[statement]).refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    return variable.sort(models.VariableSort.DISABLED)


def data_source(uid: str) -> dashboard.DatasourceVariable:
    """Let people choose among the PostgreSQL data sources; ours at first."""
    variable = dashboard.DatasourceVariable(DATA_SOURCE_VARIABLE).label("data source").type(DATA_SOURCE_TYPE)
    return variable.current(models.VariableOption(True, uid, uid))


@dataclass(frozen=True, slots=True)
class Marks(Builder[models.AnnotationQuery]):
    """Marks on all graphs: rows of (time, text, tags); the SDK knows annotations of Grafana's own store only."""

    name: str
    statement: str
    color: str

    def build(self) -> models.AnnotationQuery:
        """Return it as the dashboard keeps it."""
        query = Query(self.statement, letter="Anno").to_json()
        return _MarksQuery(self.name, _SOURCE, icon_color=self.color, query=query)


class _MarksQuery(models.AnnotationQuery):
    def __init__(self, name: str, source: models.DataSourceRef, *, icon_color: str, query: dict[str, object]) -> None:
        super().__init__(name, source, icon_color=icon_color)
        self._query = query

    def to_json(self) -> dict[str, object]:
        return super().to_json() | {"target": self._query}
