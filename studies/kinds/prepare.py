"""Write rows with numbers, levels and sets of labels: what the configurations beside this file are made for.

    python -m pip download --no-deps --no-binary :all: vaderSentiment==2.5
    python studies/kinds/prepare.py vaderSentiment-2.5.tar.gz studies/kinds/data

The package holds the ratings of Hutto & Gilbert (2014): the mean of twenty people's, from −4 to 4, for each of 4 200
tweets and 19 500 sentences of film reviews, product reviews and newspaper editorials. Levels 1 to 5 are these ratings
cut at −1.5, −0.5, 0.5 and 1.5. Sets of labels are the tags by which Debian's packages are sorted (`works-with::…`,
`use::…`), beside their one-line descriptions, from `apt-cache dumpavail` on Debian 12: a package is in one of the two
files, by its name.
"""

import argparse
import io
import json
import re
import subprocess
import tarfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

RATINGS = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
CORPORA = {
    "tweets": "tweets",
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "editorials": "nytEditorialSnippets",
}
BOUNDS = (-1.5, -0.5, 0.5, 1.5)
FACETS = ("works-with", "use")
LABELS = 8  # most frequent tags of a facet


def write_ratings(package: Path, out: Path) -> None:
    """One CSV file with numbers and one with levels for each corpus."""
    with tarfile.open(package) as outer:
        inner = outer.extractfile(RATINGS)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as archive:
            for name, corpus in CORPORA.items():
                file = archive.extractfile(f"hutto_ICWSM_2014/{corpus}_GroundTruth.txt")
                assert file is not None
                lines = [line.rstrip("\r\n").split("\t") for line in io.TextIOWrapper(file, "latin-1")]
                rows = pd.DataFrame([(row[2], float(row[1])) for row in lines if len(row) == 3])
                rows.columns = ["text", "sentiment"]
                rows.to_csv(out / f"{name}.csv", index=False)
                levels = rows.assign(label=np.digitize(rows["sentiment"], BOUNDS) + 1)
                levels[["text", "label"]].to_csv(out / f"{name}-levels.csv", index=False)


def write_tags(out: Path) -> None:
    """One file of JSON lines for each facet: descriptions with the most frequent tags."""
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    packages = []
    for block in listed.split("\n\n"):
        fields = dict(re.findall(r"^([\w-]+): (.*(?:\n .*)*)", block, re.MULTILINE))
        if "Tag" in fields and "Description" in fields:
            tags = {tag.strip() for tag in fields["Tag"].split(",")}
            packages.append((fields["Package"], fields["Description"].split("\n")[0], tags))
    for part, facet in enumerate(FACETS):
        counts = Counter(tag for *_, tags in packages for tag in sorted(tags) if tag.startswith(f"{facet}::"))
        kept = [tag for tag, _ in counts.most_common(LABELS)]
        with (out / f"{facet}.jsonl").open("w", encoding="utf-8") as file:
            for name, text, tags in packages:
                labels = [tag.split("::", 1)[1] for tag in kept if tag in tags]
                if labels and zlib.crc32(name.encode()) % len(FACETS) == part:
                    file.write(json.dumps({"text": text, "labels": labels}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_ratings(arguments.package, arguments.out)
    write_tags(arguments.out)


if __name__ == "__main__":
    main()
