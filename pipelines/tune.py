"""`sgg tune` as a script: `python pipelines/tune.py CONFIG`, `ray job submit` and `ray submit` run it."""

import sys

from sgg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "tune")
    main()
