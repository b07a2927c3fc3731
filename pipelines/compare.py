"""`sgg compare` as a script: `python pipelines/compare.py CONFIG`, `ray job submit` and `ray submit` run it."""

import sys

from sgg_ray.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "compare")
    main()
