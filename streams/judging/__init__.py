"""Which features of a closed window have drifted, and why?

In reading order: `verdicts` (distributions against the reference), `quality` and `traffic` (are the data fit to be
judged, and do they come), `series`, `resets` and `sequence` (the sequential detectors), `swings` (how much a feature
moves anyway), `spending` (what a look costs of the false-alarm budget), `why` (the bins that moved, the parts a drop
is made of).
"""
