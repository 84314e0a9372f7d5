"""Closing windows: panes become rollups, and these become verdicts, metrics and decisions.

In reading order: `due` (which windows can be closed), `evaluate` (one model's, from its panes to its decisions),
`rollups` (what is left of panes), `seasons` (the like phases of past days or weeks), `checks` (of data and traffic),
`measure` (metrics), `delays` (how late labels are), `results` (what was found, as rows), `tidy` (what nobody needs
any more).
"""
