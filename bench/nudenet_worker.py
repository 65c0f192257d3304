"""NudeNet in its own environment: a path a line in, CPU milliseconds and the number of detections a line out.

NudeNet is AGPL: guardkit neither depends on it nor ships it. `python -m venv peer && peer/bin/pip install nudenet==3.4.2`, then
`python -m bench.images --nudenet peer/bin/python`. One core, as guardkit has in that run.
"""

import os
import sys
import time

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import cv2  # noqa: E402  after the affinity, which says how many threads there will be
from nudenet import NudeDetector  # noqa: E402


def main() -> None:
    """Answer until the input ends."""
    cv2.setNumThreads(1)
    detector = NudeDetector()
    for line in sys.stdin:
        began = time.process_time()
        found = detector.detect(line.strip())
        took = (time.process_time() - began) * 1000
        print(f"{took} {len(found)}", flush=True)


if __name__ == "__main__":
    main()
