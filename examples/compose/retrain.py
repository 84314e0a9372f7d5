"""What a retraining would be: reads the request from standard input, says what it would train on, and succeeds.

Yours would load the data of `recommended_window`, fit, evaluate, register the new version, and say which it is.
"""

import json
import sys

asked = json.load(sys.stdin)["data"]
window = asked["lineage"]["recommended_window"]
moved = ", ".join(asked["lineage"]["features"]) or "no single feature"
print(f"{asked['model']} {asked['version']}, {moved} moved: training on {window['from']} to {window['to']}")
print(json.dumps({"version": f"{asked['version']}-retrained"}))
