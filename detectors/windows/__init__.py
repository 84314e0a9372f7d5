"""Does a closed window differ from the reference, in which feature, by how much, and in what way?

A distance is the effect size, a two-sample test of the same counts is the significance, and a level takes both.
"""
