"""How fast is it, and beside what? A suite that measures the real worker next to what one would write instead.

A development-only package, like the tests: it starts a real broker and a real database, and nothing of ours imports it.
Invariants: every figure comes from a run whose answer was checked; rows that are compared are measured in turns.
"""
