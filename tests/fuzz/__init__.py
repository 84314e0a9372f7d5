"""Does anything that strangers send make us raise, stop, swell, or say one thing fast and another row by row?

Doors (`doors.py`) are the functions that take bytes of others: messages, configurations, files, requests, answers. An
input is a few records, as a fetch is; the laws of a door hold for every input. Inputs are made from a corpus in the
repository by a mutator that knows JSON and bytes (`mutate.py`). With Atheris, libFuzzer chooses what to mutate by the
branches of our code that an input was the first to reach; without it, chance does.
"""
