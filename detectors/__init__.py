"""Pure statistics: which numbers describe a window, and do they differ from the reference.

Nothing here reads a file, a clock, a socket or global random state, and nothing imports another package of ours:
every function is arrays in, values out, so the same counts give the same verdict on every machine and in every order.
"""
