"""Closing windows: panes become rollups, and these become verdicts, metrics and decisions.

In reading order: `due` (which windows can be closed), `evaluate` (one model's, from its panes to its decisions),
`rollups` (what is left of panes), `measure` (metrics), `delays` (how late labels are), `results` (what was found, as
rows), `tidy` (what nobody needs any more).
"""
