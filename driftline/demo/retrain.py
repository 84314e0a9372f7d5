"""What stands where a training would be: `python -m driftline.demo.retrain` trains nothing, and says so.

It is run by the real retraining consumer, as a training script would be: the request comes in variables, and the last
line of output names the new version.
"""

import json
import os
import time

TRAINING_S = 1.0


def main() -> None:
    """Take as long as a very small training, and name a version."""
    told = {name: os.environ.get(f"DRIFTLINE_{name}", "?") for name in ("MODEL", "VERSION", "TRAIN_FROM", "TRAIN_TO")}
    print("would retrain {MODEL} {VERSION} on {TRAIN_FROM} to {TRAIN_TO}".format_map(told), flush=True)
    time.sleep(TRAINING_S)
    print(json.dumps({"version": f"{told['VERSION']}-retrained"}))


if __name__ == "__main__":
    main()
