"""What a running worker or replay knows of each model: its settings, its codes in the store, its reference profiles.

Codes and profiles never change once given, so they are cached; which profile is in force may change and is read anew in
every transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from psycopg.types.json import Jsonb

from detectors.reference.profile import Profile
from detectors.reference.summaries import ALL_TRAFFIC
from driftline.errors import StateError
from driftline.events import Coded, Floats, Ints, Numeric
from driftline.settings import ModelSettings, Settings
from driftline.settings.services import KafkaTopics
from driftline.store.arrays import pg_array
from driftline.store.connection import Connection, rows, run, the_row
from labels_join.join import JoinedModel
from streams.faults import one_line
from streams.panes import PaneLayout, pane_layout
from streams.windows import grain_of

LOCK_BUCKETS = 64
DAYS_KEPT_WITHOUT_LABELS = 30
REST_NAMES = ("other", "missing")
"""What stands for names beyond the bound and for no name, in the order of the codes -2 and -1 of a column; they always
have a code, and do not count."""

EVERY_VERSION = "*"
ALL_SEGMENTS = "*"
NO_TOPIC = "*"
"""What is counted of no topic stands under it."""


@dataclass(slots=True)
class MonitoredModel:
    """One model of the configuration, as the store knows it.

    Parameters
    ----------
    horizons_s
        Every label horizon the model ever had; predictions may lie under each.
    names_max
        By kind, how many names may have a code, with those of the rest; new features have none, only the bound.
    topics
        Where messages go.
    codes
        By kind (`version`, `variant`, `class`, `segment`), the code of each name.
    partitions
        By table, the slots of event time for which partitions are known to be there.
    """

    name: str
    settings: ModelSettings
    model_id: int
    horizons_s: list[int]
    names_max: Mapping[str, int]
    topics: KafkaTopics = field(default_factory=KafkaTopics)
    codes: dict[str, dict[str, int]] = field(default_factory=dict)
    partitions: dict[str, set[int]] = field(default_factory=dict)

    @property
    def bucket(self) -> int:
        """The model's advisory lock."""
        return self.model_id % LOCK_BUCKETS

    @property
    def horizon_ms(self) -> int:
        """How long predictions wait for labels; how old an event may be for a model without labels."""
        return horizon_ms_of(self.settings)

    @property
    def grain_ms(self) -> int:
        """Of what the model's windows and rollups are made."""
        return grain_of(self.settings.windows.length_ms, self.settings.windows.slide_ms)

    @property
    def n_names(self) -> int:
        """How many codes are known."""
        return sum(map(len, self.codes.values()))

    @property
    def class_names(self) -> list[str]:
        """What class codes stand for, in the order of the codes."""
        return self.names("class")

    def names(self, kind: str) -> list[str]:
        """Names of one kind by their codes; empty where another worker gave a code that is not known yet."""
        codes = self.codes.get(kind, {})
        names = [""] * (max(codes.values(), default=-1) + 1)
        for name, code in codes.items():
            names[code] = name
        return names

    def joined(self) -> JoinedModel:
        """Return what the label join must know."""
        labels = self.settings.labels
        assert labels is not None
        return JoinedModel(
            self.model_id,
            horizon_s_of(self.settings),
            self.horizons_s,
            labels.dedupe_window_ms,
            labels.on_correction,
            None if self.settings.task == "regression" else self.class_names,
        )

    async def admit(self, connection: Connection, kind: str, names: Iterable[str]) -> None:
        """Give codes to names that have none yet; must not be called inside a transaction that may be rolled back."""
        known = self.codes.get(kind, {})
        new = [name for name in dict.fromkeys(names) if name not in known]
        if not new:
            return
        found = await rows(
            connection,
            "admit_names",
            model_id=self.model_id,
            kind=kind,
            names=new,
            names_max=self.names_max[kind],
        )
        self._learn(kind, dict(found))

    def _learn(self, kind: str, codes: Mapping[str, int]) -> None:
        """Add codes to those that are known by now: several fetches are committed beside one another."""
        known = {**self.codes.get(kind, {}), **codes}
        self.codes[kind] = dict(sorted(known.items(), key=lambda item: item[1]))

    async def encode(self, connection: Connection, kind: str, column: Coded, prefix: str = "") -> Ints:
        """Return int64 [rows]: codes of a column's values; names beyond the bound share the code of `other`.

        Parameters
        ----------
        prefix
            Stands before each name, as `SEX=` before the values of a segment.
        """
        names, rest = [prefix + value for value in column.values], [prefix + name for name in REST_NAMES]
        known = self.codes.get(kind, {})
        has_rest = bool(column.codes.min(initial=0) < 0)
        if not all(name in known for name in (names + rest if has_rest else names)):
            used = np.unique(column.codes[column.codes >= 0]).tolist()
            wanted = [names[code] for code in used]
            if has_rest or any(name not in known for name in wanted):
                await self.admit(connection, kind, [*rest, *wanted])
                if any(name not in self.codes[kind] for name in wanted):
                    await self.refresh_names(connection)
                known = self.codes[kind]
        other = known.get(rest[0], 0)
        # Codes -1 and -2, what is missing and what is other, find theirs from the end.
        return np.array([known.get(name, other) for name in (*names, *rest)], np.int64)[column.codes]

    def n_beyond(self, kind: str, column: Coded, prefix: str = "") -> int:
        """Return in how many rows of an encoded column a name has no code of its own, so that `other` stands for it."""
        known = self.codes.get(kind, {})
        if len(known) < self.names_max[kind]:
            return 0
        beyond = [code for code, value in enumerate(column.values) if prefix + value not in known]
        return int(np.isin(column.codes, beyond).sum())

    async def refresh_names(self, connection: Connection) -> None:
        """Read all codes anew: another worker may have given some."""
        codes: dict[str, dict[str, int]] = {}
        found = await rows(connection, "names_of_model", model_id=self.model_id)
        for item in found:
            codes.setdefault(item.kind, {})[item.name] = item.code
        for kind, of_kind in codes.items():
            self._learn(kind, of_kind)

    async def admit_segments(self, connection: Connection, names: Iterable[str] = ()) -> None:
        """Give codes to segments; however many values one segment has, the others keep a code for their rest."""
        rest = [f"{name}={of}" for name in self.settings.segments for of in REST_NAMES]
        await self.admit(connection, "segment", [*rest, *names])

    @property
    def segment_codes(self) -> list[int]:
        """All traffic and every segment, by code."""
        return [ALL_TRAFFIC, *range(len(self.codes.get("segment", {})))]

    def segment_name(self, code: int) -> str | None:
        """Return the name of a segment such as `SEX=1`, or None for all traffic."""
        return None if code == ALL_TRAFFIC else self.names("segment")[code]

    async def encode_segments(self, connection: Connection, segments: Sequence[Coded], n_rows: int) -> Ints:
        """Return int64 [rows, names]: codes of the segment values."""
        await self.admit_segments(connection)
        encoded = np.empty((n_rows, len(segments)), np.int64)
        for place, (name, column) in enumerate(zip(self.settings.segments, segments, strict=True)):
            encoded[:, place] = await self.encode(connection, "segment", column, f"{name}=")
        return encoded

    async def encode_classes(self, connection: Connection, column: Coded | Numeric) -> Floats:
        """Return float64 [rows]: class codes, or the values themselves for regression."""
        if isinstance(column, Numeric):
            return column.values
        return (await self.encode(connection, "class", column)).astype(np.float64)


def horizon_ms_of(settings: ModelSettings) -> int:
    """Return how long a model's events are of any use, in milliseconds."""
    if settings.labels is None:
        return DAYS_KEPT_WITHOUT_LABELS * 86_400_000
    return settings.labels.horizon_ms


def horizon_s_of(settings: ModelSettings) -> int:
    """Return the label horizon in whole seconds, rounded up."""
    return -(-horizon_ms_of(settings) // 1000)


async def register_models(connection: Connection, settings: Settings) -> dict[str, MonitoredModel]:
    """Make the configured models known to the store, and return them by name."""
    limits, n_rest = settings.limits, len(REST_NAMES)
    topics = KafkaTopics() if settings.kafka is None else settings.kafka.topics
    models = {}
    for name, model in settings.models.items():
        registered = await the_row(
            connection,
            "register_model",
            name=name,
            horizon_s=horizon_s_of(model),
            settings=Jsonb(model.model_dump(mode="json")),
        )
        names_max = {
            "version": limits.versions_max + n_rest,
            "variant": limits.versions_max + n_rest,
            "segment": limits.segments_max + n_rest * len(model.segments),
            "class": limits.classes_max + n_rest,
            "new_feature": limits.new_features_max,
        }
        models[name] = MonitoredModel(name, model, registered.model_id, list(registered.horizons_s), names_max, topics)
        await models[name].refresh_names(connection)
    return models


class Profiles:
    """Reference profiles by id, loaded once each."""

    def __init__(self) -> None:
        self._layouts: dict[int, PaneLayout] = {}

    async def layout(self, connection: Connection, profile_id: int) -> PaneLayout:
        """Return the pane layout of a profile.

        Raises
        ------
        StateError
            If this program can't read it: parts were added to profiles before, and a newer one may have made it.
        """
        if profile_id not in self._layouts:
            found = await the_row(connection, "profile_content", profile_id=profile_id)
            try:
                profile = Profile.from_json(found.content)
            except (TypeError, ValueError, LookupError) as error:
                what = f"the reference {found.digest} can't be read by this program: {one_line(error)}"
                raise StateError(what, remedy="a newer program made it: upgrade this one") from error
            self._layouts[profile_id] = pane_layout(profile)
        return self._layouts[profile_id]

    async def in_force(self, connection: Connection, models: Iterable[MonitoredModel]) -> dict[tuple[int, str], int]:
        """Return profile ids by (model id, version); `*` stands for all versions without one of their own."""
        found = await rows(connection, "profiles_in_force", model_ids=[model.model_id for model in models])
        return {(item.model_id, item.version): item.profile_id for item in found}


def profile_of_version(in_force: Mapping[tuple[int, str], int], model: MonitoredModel, version: str) -> int | None:
    """Return the id of the profile a version is compared with, or None while it is still being collected."""
    own = in_force.get((model.model_id, version))
    if own is not None or version in model.settings.versions:
        return own
    return in_force.get((model.model_id, EVERY_VERSION))


async def put_profile_in_force(connection: Connection, model: MonitoredModel, version: str, profile: Profile) -> int:
    """Keep a profile and compare with it from now on; return its id."""
    kept = await the_row(connection, "add_profile", digest=profile.digest, content=profile.to_json())
    bins = [
        (feature.name, place, label) for feature in profile.features for place, label in enumerate(feature.bin_labels())
    ]
    await run(
        connection,
        "add_profile_bins",
        profile_id=kept.profile_id,
        feature=[feature for feature, _, _ in bins],
        bin=pg_array("int4", [place for _, place, _ in bins]),
        label=[label for _, _, label in bins],
    )
    layout = pane_layout(profile)
    counts = [
        (ALL_SEGMENTS if segment is None else segment, feature.name, profile.counts_of(segment)[start:end])
        for segment in (None, *(segment.name for segment in profile.segments))
        for feature, (start, end) in zip(profile.features, pairwise(layout.starts.tolist()), strict=True)
    ]
    await run(
        connection,
        "add_profile_counts",
        profile_id=kept.profile_id,
        segment=[segment for segment, _, _ in counts],
        feature=[feature for _, feature, _ in counts],
        counts=["{" + ",".join(map(str, of_bins)) + "}" for _, _, of_bins in counts],
    )
    await run(
        connection,
        "put_profile_in_force",
        model_id=model.model_id,
        version=version,
        profile_id=kept.profile_id,
    )
    return int(kept.profile_id)


async def id_secret(connection: Connection, settings: Settings) -> bytes:
    """Return the key with which prediction ids are digested."""
    if settings.privacy.id_key is not None:
        return settings.privacy.id_key.get_secret_value().encode()[:64]
    return bytes((await the_row(connection, "id_key")).id_key)


async def count_of_models(connection: Connection, models: Sequence[str], n: Sequence[int], *, reason: str) -> None:
    """Count what is of models and of no partition: what expired, or could not be judged.

    Parameters
    ----------
    models, n
        Names, and how many to add to each one's count under the reason.
    """
    await run(
        connection,
        "count_events",
        topic=NO_TOPIC,
        partition=0,
        model=list(models),
        reason=[reason] * len(models),
        n=pg_array("int8", n),
    )
