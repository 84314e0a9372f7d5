"""What would a configuration for this data file look like? Read its head, guess, and write the guesses down.

`sample` reads, `guess` decides on the values alone, `template` writes YAML. A guess is never silent: its reason stands
beside it in the file.
"""
