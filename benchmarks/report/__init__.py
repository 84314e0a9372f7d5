"""What came of a run: medians, ratios, targets, a table, a chart, and the constants that capacity reckons with."""
