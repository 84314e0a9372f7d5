"""Pure statistics: which numbers describe a window, and do they differ from the reference.

Nothing here reads a file, a clock, a socket or global random state, and nothing imports another package of ours:
every function is arrays in, values out, so the same counts give the same verdict on every machine and in every order.

* `detectors.reference`: what "no drift" looked like, and how events are counted to be compared with it.
* `detectors.noise`: how much a stream swings where nothing has changed.
* `detectors.windows`: does a closed window differ from the reference, and in what?
* `detectors.sequential`: has a series changed from pane to pane, and since when?
* `detectors.metrics`: how right were the predictions, and why less so than before?
* `detectors.budget`: how sure must each test be; `detectors.canonical`: when are two categories the same?
"""
