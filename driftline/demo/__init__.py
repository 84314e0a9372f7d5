"""What does Driftline look like at work, on a machine that has nothing but Python?

`traffic` invents two days of a model with three things going wrong, `scene` sets up the services around the real
worker, `findings` says what was found of it, and `play` lets the traffic run and tells people about it.
"""
