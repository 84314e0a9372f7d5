"""Has a series changed from pane to pane, and since when? Detectors of many series at once, under one set of laws."""
