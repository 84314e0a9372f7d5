"""What did "no drift" look like, and how are events counted so that they can be compared with it?

A profile is frozen and has a digest; a summary is a vector of integers for one profile, so summaries add in any order.
"""
