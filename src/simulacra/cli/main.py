"""The command line: which verb, and how its faults are told. A verb's file is imported only when it is called."""

from __future__ import annotations

import importlib
import os
import sys

# verb -> (its file, and its function there; what it does)
VERBS: dict[str, tuple[str, str]] = {
    "quickstart": ("quickstart", "fit several families on the built-in digits, judge them, write a report"),
    "fit": ("fit", "fit FAMILY DATA: learn the distribution of your data"),
    "distil": ("distil", "distil RUN --out OUT: a diffusion run or a flow teaches a model that draws in few steps"),
    "optimise": (
        "optimise",
        "optimise RUN --for qed|logp|similarity --out OUT: molecules that score high, near those of the run",
    ),
    "sample": ("sample", "sample RUN -n N --out FILE: draw new examples"),
    "evaluate": ("evaluate", "evaluate RUN|FOLDER|ARRAY|MODULE:FUNCTION --real DATA: figures with intervals"),
    "compare": ("compare", "compare RUN...: one page, one table"),
    "reconstruct": ("pictures:main_reconstruct", "reconstruct RUN INPUT --out FILE: through the latent space and back"),
    "interpolate": ("pictures:main_interpolate", "interpolate RUN --out FILE.png|.gif|.mp4: walks between examples"),
    "traverse": ("pictures:main_traverse", "traverse RUN --out FILE.png|.html: what each latent dimension does"),
    "styles": (
        "styles:main_styles",
        "styles RUN --show mixing|truncation --out FILE: what a style-based generator's layers hold",
    ),
    "project": ("styles:main_project", "project RUN INPUT --out FILE: the style that shows a picture best"),
    "denoise": ("pictures:main_denoise", "denoise RUN INPUT --sigma S --out FILE: remove noise of known strength"),
    "translate": (
        "translating:main_translate",
        "translate RUN INPUT: a picture from what is given, such as a grey one; a sentence in another language",
    ),
    "redraw": (
        "translating:main_redraw",
        "redraw RUN INPUT --strength S --out FILE: forget part of a picture (SDEdit)",
    ),
    "edit": ("pictures:main_edit", "edit RUN INPUT --towards LABEL --out STRIP: move examples towards a class"),
    "impute": ("missing:main_impute", "impute RUN INPUT --out FILE: draw what is missing, NaN in an array"),
    "inpaint": ("missing:main_inpaint", "inpaint RUN INPUT --mask MASK.png --out FILE: draw what lies under a mask"),
    "classify": (
        "scoring:main_classify",
        "classify RUN INPUT --out FILE.csv: the class of each example, by Bayes' rule",
    ),
    "score": ("continuing:main_score", "score RUN TEXT|FILE --prompt P: log p of a text, after another"),
    "novelty": ("scoring:main_novelty", "novelty RUN INPUT: how strange examples are to a model"),
    "compress": ("files:main_compress", "compress RUN FILE --out C: without loss, as short as the model is good"),
    "decompress": ("files:main_decompress", "decompress RUN C --out FILE: the examples again"),
    "merge": ("exchange:main_merge", "merge RUN --out DIR: adapters added to the weights they stand on"),
    "export": ("exchange:main_export", "export diffusers|onnx RUN --out PATH: a run as another library reads it"),
    "import": ("exchange:main_import", "import DIR --out RUN: a directory of diffusers, or GPT-2's layout, as a run"),
    "mark": ("marking:main_mark", "mark --new-key KEY; mark PICTURE --key KEY --out FILE.png: a secret mark in pixels"),
    "verify": ("marking:main_verify", "verify FILE|FOLDER --key KEY: whether it carries the mark of a key, with a p"),
    "sign": ("provenance:main_sign", "sign FILE --cert CERT.pem: a signed manifest (C2PA) that says a model made it"),
    "inspect": ("provenance:main_inspect", "inspect FILE --trust ROOT.pem: what its manifest says, and if that holds"),
    "study": ("study", "study new|serve|result|plan: human evaluation, with intervals"),
    "laws": ("laws", "laws RUN|MODULE:FACTORY: the conformance battery"),
    "audit": ("audit:main_audit", "audit RUN: copying, membership, fairness: pass, attention or not measured"),
    "card": ("audit:main_card", "card RUN: model card and data card from what was measured"),
    "detect": ("detecting", "detect RUN RUN ...: how well detectors know pictures of a kind of model they never saw"),
    "families": ("families", "the families of models, and what each can do"),
    "data": ("data", "the data sets known by name"),
    "reproduce": ("reproduce", "reproduce NAME: a published figure, rerun and put beside the paper's"),
}

HELP = """simulacra {version}: learn the distribution of your data, and use it

usage: simulacra VERB ...     (simulacra VERB --help says more)

{verbs}

Start with: simulacra quickstart
"""


def main(arguments: list[str] | None = None) -> None:
    """Run a verb; exit 2 for the user's mistake and 1 for ours, each with one line."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return
    if arguments[0] in ("--version", "-V"):
        from simulacra import __version__

        print(__version__)
        return
    if arguments[0] not in VERBS:
        _fail(f"no verb {arguments[0]!r}; expected one of {', '.join(VERBS)}", 2)
    try:
        file, _, function = VERBS[arguments[0]][0].partition(":")
        getattr(importlib.import_module(f"simulacra.cli.{file}"), function or "main")(arguments[1:])
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:
        # the reader of a pipe went away, as `| head` does: nothing is left to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (ValueError, OSError) as error:
        if os.environ.get("SIMULACRA_TRACEBACK"):
            raise
        _fail(_one_line(error), 2)
    except ImportError as error:
        if os.environ.get("SIMULACRA_TRACEBACK"):
            raise
        _fail(_one_line(error), 2 if "pip install" in str(error) else 1)
    except Exception as error:
        if os.environ.get("SIMULACRA_TRACEBACK"):
            raise
        _fail(f"a fault of simulacra's own: {type(error).__name__}: {_one_line(error)}"
              " (SIMULACRA_TRACEBACK=1 shows where; please report it)", 1)  # fmt: skip


def _help() -> str:
    from simulacra import __version__

    width = max(map(len, VERBS))
    return HELP.format(
        version=__version__, verbs="\n".join(f"  {v:<{width}}  {text}" for v, (_, text) in VERBS.items())
    ).rstrip()


def _one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split())


def _fail(text: str, status: int) -> None:
    print(f"simulacra: {text}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
