"""How does a peer get the streams, and how does it tell where it alarmed? Only numpy, as peers share nothing else.

A peer is started as ``python with_PEER.py FOLDER``; it reads ``plan.json`` and the arrays beside it, and writes
``PEER.json``.
A stream that a detector does not take is told with its error.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


class Stage:
    """The streams in a folder, and what was found in them."""

    def __init__(self, tool, version):
        self.folder = Path(sys.argv[1])
        self.plan = json.loads((self.folder / "plan.json").read_text())
        self.tool = tool
        self.found = {"version": version, "items": {}, "windows": {}, "estimates": {}}

    def items(self, name, sees, alarms_of, streams_max=None):
        """Let a detector watch single values.

        Parameters
        ----------
        sees
            "errors", or "values" for one that takes errors and any number.
        alarms_of
            Function of one stream, returns the places of its alarms.
        streams_max
            Only so many streams of each family, for a slow one.
        """
        values, alarms, refused = np.load(self.folder / "items.npz"), {}, {}
        started = time.process_time()
        for family, kind in self.plan["items"].items():
            if kind == "errors" or sees == "values":
                try:
                    alarms[family] = [list(map(int, alarms_of(stream))) for stream in values[family][:streams_max]]
                except Exception as error:
                    refused[family] = type(error).__name__
        self._tell("items", name, started)
        self.found["items"][name] = {"sees": sees, "alarms": alarms, "refused": refused}

    def windows(self, name, sees, alarms_of, streams_max=None):
        """Let a detector watch windows of features.

        Parameters
        ----------
        sees
            "all features", "numeric features", or "whole windows" for one that names no feature.
        alarms_of
            Function of the reference and a list of windows, each a dictionary of columns; returns (window, feature) of
            each alarm, with the feature "*" for whole windows.
        """
        alarms, refused, started = {}, {}, time.process_time()
        for family, streams in self.plan["windows"].items():
            try:
                alarms[family] = self._of_streams(alarms_of, streams[:streams_max])
            except Exception as error:
                refused[family] = type(error).__name__
        self._tell("windows", name, started)
        self.found["windows"][name] = {"sees": sees, "alarms": alarms, "refused": refused}

    def _of_streams(self, alarms_of, streams):
        said = []
        for stream in streams:
            columns = np.load(self.folder / stream["file"])
            reference, rows = ({key[2:]: columns[key] for key in columns if key[0] == part} for part in "rw")
            size = stream["size"]
            windows = [
                {feature: column[number * size : (number + 1) * size] for feature, column in rows.items()}
                for number in range(self.plan["n_windows"])
            ]
            said.append([[int(number), str(feature)] for number, feature in alarms_of(reference, windows)])
        return said

    def estimates(self, name, estimated):
        """Let something estimate metrics of windows before labels.

        Parameters
        ----------
        estimated
            Function of the reference's columns, the later columns and the rows of a window; returns lists by metric.
        """
        for data in self.plan["estimates"]:
            columns = np.load(self.folder / data["file"])
            for size in data["sizes"]:
                found = estimated({k[2:]: columns[k] for k in columns if k[0] == "r"},
                                  {k[2:]: columns[k] for k in columns if k[0] == "w"}, size)  # fmt: skip
                self.found["estimates"].setdefault(name, {})[f"{data['name']}, {size} rows"] = found

    def write(self):
        """Write what was found."""
        (self.folder / f"{self.tool}.json").write_text(json.dumps(self.found))

    def _tell(self, table, name, started):
        print(f"{self.tool}, {table}: {name} in {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)


def restarting(make, update):
    """Return an `alarms_of` that makes the detector anew after each alarm, as its documentation asks for."""

    def alarms_of(stream):
        detector, alarms = make(), []
        for place, value in enumerate(stream.tolist()):
            if update(detector, value):
                alarms.append(place)
                detector = make()
        return alarms

    return alarms_of


def is_numeric(column):
    """Tell numbers from texts."""
    return column.dtype.kind != "U"
