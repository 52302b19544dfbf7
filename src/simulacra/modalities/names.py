"""The data sets known by name: what they are, where they come from, how to know they are whole. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DIGITS = tuple("0123456789")
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A data set known by name.

    what      one line: what it is, how much of it, licence.
    modality  "pictures" | "points" | "text" | "pairs" | "molecules" | "music" | "frames" | "tables".
    folder    its folder's name under SIMULACRA_DATA or the cache; None where it is made, not read.
    classes   the names of its classes, in their order; () where it has none or they are read from the files.
    url       what is fetched where the folder is missing: file name -> address. Empty where it cannot be fetched.
    sha256    file name -> SHA-256 of the file; of its unpacked contents for .gz, which mirrors pack differently.
    by_hand   how to get what cannot be fetched.
    files     of text, molecules, tables: the file to learn from, and the official test split where there is one.
    cut       of text: "lines" or "blocks", where its looks would not tell.
    languages  of pairs: SOURCE-TARGET unless somebody says.
    binarise  "dynamic" | "threshold" where the pictures are made black and white.
    stacked   whether a picture's three colours are three of the folder's grey pictures.
    licence   as its source states it.
    consent   whether people are shown or took part, and what they agreed to, as far as its source says.
    """

    what: str
    modality: str = "pictures"
    folder: str | None = None
    classes: tuple[str, ...] = ()
    url: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    by_hand: str = ""
    files: tuple[str, ...] = ()
    cut: str | None = None
    languages: str | None = None
    binarise: str | None = None
    stacked: bool = False
    licence: str = "none needed: drawn by formulas"
    consent: str = "no people in it"


IDX_FILES = tuple(
    f"{part}-ubyte.gz" for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)
MNIST_URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"  # the mirror kept by PyTorch; the first host is gone
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
MNIST_SHA256 = dict(
    zip(
        IDX_FILES,
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
        strict=True,
    )
)
FASHION_SHA256 = dict(
    zip(
        IDX_FILES,
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
        strict=True,
    )
)

KNOWN: dict[str, Known] = {
    "digits": Known(
        what="1,797 handwritten digits, 8x8, 17 grey levels, 10 classes; built in (scikit-learn; UCI, CC BY 4.0)",
        classes=DIGITS,
        licence="CC BY 4.0",
        consent="handwriting of people who are not named; consent not stated",
    ),
    "mnist": Known(
        what="70,000 handwritten digits, 28x28 grey, 10 classes, official test split (CC BY-SA 3.0)",
        folder="mnist",
        classes=DIGITS,
        url={name: MNIST_URL + name for name in IDX_FILES},
        sha256=MNIST_SHA256,
        licence="CC BY-SA 3.0",
        consent="handwriting of people who are not named; consent not stated",
    ),
    "mnist-binary": Known(
        what="mnist, each picture drawn black and white afresh with probability its grey level (dynamic binarisation)",
        folder="mnist",
        classes=DIGITS,
        url={name: MNIST_URL + name for name in IDX_FILES},
        sha256=MNIST_SHA256,
        binarise="dynamic",
        licence="CC BY-SA 3.0",
        consent="handwriting of people who are not named; consent not stated",
    ),
    "stacked-mnist": Known(
        what="128,000 stacks of three mnist digits, in red, green and blue: a thousand modes",
        folder="mnist",
        url={name: MNIST_URL + name for name in IDX_FILES},
        sha256=MNIST_SHA256,
        stacked=True,
        licence="CC BY-SA 3.0",
        consent="handwriting of people who are not named; consent not stated",
    ),
    "fashion-mnist": Known(
        what="70,000 pieces of clothing, 28x28 grey, 10 classes, official test split (MIT)",
        folder="fashion-mnist",
        classes=FASHION,
        url={name: FASHION_URL + name for name in IDX_FILES},
        sha256=FASHION_SHA256,
        licence="MIT",
    ),
    "cifar10": Known(
        what="60,000 photographs, 32x32 colour, 10 classes, official test split (for research)",
        folder="cifar10",
        classes=CIFAR10,
        url={"cifar-10-binary.tar.gz": "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"},
        sha256={"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
        licence="for research; the photographs' own licences are not stated",
        consent="photographs from the web; consent not stated",
    ),
    "emoji": Known(
        what="3,583 emoji, 72x72 colour on transparent ground (Noto Emoji, OFL 1.1); captions are their Unicode names",
        folder="emoji",
        by_hand="copy the pictures of the folder png/72 of github.com/googlefonts/noto-emoji there",
        licence="OFL 1.1",
    ),
    "names": Known(
        what="32,033 first names, one a line, a to z (makemore, MIT; US Social Security's names of 2018)",
        modality="text",
        folder="text",
        files=("names.txt",),
        cut="lines",
        by_hand="copy names.txt of github.com/karpathy/makemore there",
        licence="MIT",
        consent="first names of people, no one of whom is told by them",
    ),
    "tinyshakespeare": Known(
        what="1.1 million characters of Shakespeare, 65 different ones, the last tenth held out (public domain)",
        modality="text",
        folder="text",
        files=("tinyshakespeare.txt",),
        cut="blocks",
        by_hand="copy data/tinyshakespeare/input.txt of github.com/karpathy/char-rnn there as tinyshakespeare.txt",
        licence="public domain",
    ),
    "wikitext-2": Known(
        what="2.4 million bytes of Wikipedia: WikiText-2's validation part to learn from, its test part (CC BY-SA)",
        modality="text",
        folder="text",
        files=("wikitext2.valid.txt", "wikitext2.test.txt"),
        cut="blocks",
        by_hand="copy WikiText-2's valid and test parts there as wikitext2.valid.txt and wikitext2.test.txt",
        licence="CC BY-SA",
        consent="articles about people among others; written by volunteers under that licence",
    ),
    "multi30k": Known(
        what="29,000 captions of pictures, German to English (or French); judged by test 2016",
        modality="pairs",
        folder="multi30k",
        languages="de-en",
        by_hand="copy train, val and test_2016_flickr, .de, .en, .fr, of github.com/multi30k/dataset there",
        licence="for research; the descriptions' own licence is not stated",
        consent="written and translated by paid people, of photographs of people who were not asked",
    ),
    "moses-10k": Known(
        what="10,000 drug-like molecules of MOSES' training part, judged by 10,000 of its test part (MIT; from ZINC)",
        modality="molecules",
        folder="molecules",
        files=("moses.train10k.smi.gz", "moses.test10k.smi.gz"),
        by_hand="copy 10,000 SMILES of each of train.csv and test.csv of github.com/molecularsets/moses there",
        licence="MIT",
    ),
    "muv": Known(
        what="93,087 drug-like molecules that were screened for activity: MUV's, without their labels (MoleculeNet)",
        modality="molecules",
        folder="molecules",
        files=("muv.smi.gz",),
        by_hand="copy the SMILES of MoleculeNet's muv.csv there, one a line, as muv.smi.gz",
        licence="not stated; measurements are public (PubChem)",
    ),
    "jsb": Known(
        what="382 chorales by Bach as 88-key frames, a quarter note each, the benchmark's split (public domain)",
        modality="frames",
        folder="jsb",
        files=("jsb-chorales-quarter.json",),
        by_hand="copy jsb-chorales-quarter.json of github.com/czhuang/JSB-Chorales-dataset there",
        licence="public domain music",
    ),
    "nottingham": Known(
        what="1,034 British and American folk tunes with chords, MIDI (GPL-3; Nottingham database, E. Foxley)",
        modality="music",
        folder="nottingham",
        by_hand="copy the folder MIDI of github.com/jukedeck/nottingham-dataset there",
        licence="GPL-3",
    ),
    "adult": Known(
        what="48,842 people of the US census of 1994, 15 columns: age, work, income; official test split (CC BY 4.0)",
        modality="tables",
        folder="tables",
        files=("adult.train.csv", "adult.test.csv"),
        by_hand="copy adult.data and adult.test of archive.ics.uci.edu there as adult.train.csv, adult.test.csv",
        licence="CC BY 4.0",
        consent="a public sample of a census, nobody named; consent to this use not stated",
    ),
    "compas": Known(
        what="7,214 people judged by a risk score in Florida, 2013-14, 53 columns (ProPublica; public records)",
        modality="tables",
        folder="tables",
        files=("compas-scores-two-years.csv",),
        by_hand="copy compas-scores-two-years.csv of github.com/propublica/compas-analysis there",
        licence="not stated; public records",
        consent="named people, from court records; they were not asked",
    ),
    "ring": Known(what="8 Gaussians on a circle of radius 1, sigma 0.01 (PacGAN's 2D-ring); exact", modality="points"),
    "grid": Known(what="25 Gaussians on {-4,-2,0,2,4}^2, sigma 0.05 (PacGAN's 2D-grid); exact", modality="points"),
    "pinwheel": Known(what="5 bent arms in the plane; exact", modality="points"),
    "checkerboard": Known(what="uniform on 8 squares of a 4x4 board in the plane; exact", modality="points"),
    "sprites": Known(what="737,280 drawn shapes, 64x64 black and white: shape, scale, orientation, x, y known"),
}
