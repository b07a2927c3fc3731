"""One process that logs a run to an MLflow server: `python log_to_server.py URI NUMBER STEPS`."""

import sys
import time

from sgg_ray.tracking import Tracker


def main(uri: str, number: int, steps: int) -> None:
    tracker = Tracker.start(uri, "many", f"run {number}", params={"number": number})
    for step in range(steps):
        tracker.log_metrics([(step, {"value": number * 1000 + step})])
        time.sleep(0.25)
    for _ in range(20):
        if tracker.finish():
            return
        time.sleep(2)
    raise SystemExit("the server never came back")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
