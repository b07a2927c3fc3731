"""``python -m sgg_ray`` is ``sgg``, where the folder of scripts is not on the PATH."""

from sgg_ray.cli import main

if __name__ == "__main__":
    main()
