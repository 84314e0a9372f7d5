"""The path of the data, from Kafka's log to verdicts, and from there to those who act on them.

The rooms stand along the path: `reading` (fetches from the log), `decode` (messages become columns), `committing` (one
fetch, one transaction), `closing` (windows, from panes to results), `judging` (has a window drifted, and why),
`deciding` (episodes and requests), `sending` (messages out). Beside it, `references` are what windows are compared
with.

What all of them know: `windows`, `watermarks`, `panes`, `counting` (events become panes' summaries), `monitored`
(models, their codes and profiles) and `faults` (who is to blame). What runs them: `worker` and `app` (Kafka), with
`timer`, `health` and `memory`; `replay` and `replay_files` (data files instead). `forget` erases a prediction.
"""
