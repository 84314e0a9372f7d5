"""From what a closed slide says to episodes, messages and requests.

In reading order: `evidence` (what of it is evidence), `explaining` (where broken floors come from), `policing` (the
policy of each model version, heard and stored), `decisions` (what it decided, as rows).
"""
