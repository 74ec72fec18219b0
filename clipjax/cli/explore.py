"""Change the class design of a run in the browser and see which images move: clipjax explore RUN [--open]

RUN is a folder that `clipjax probe` wrote with a class design (fairface, congress, rates), a zero-shot run, or one of
`clipjax ingest --features`, whose prompts have to be among the ingested texts. No image is encoded again; the text
encoder encodes new prompts once. The server listens on this machine only, and the page sends nothing elsewhere;
--host=ADDRESS opens it to other machines.

    clipjax explore runs/default --open
    clipjax explore runs/default --state=mine.yaml     # go on with a design, or with a state that the page saved
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of `clipjax explore`."""
    parser.add_argument("run", metavar="RUN", help="a finished run of a class design")
    parser.add_argument(
        "--host", default="", metavar="ADDRESS", help="listen there, not on 127.0.0.1: read the warning"
    )
    parser.add_argument("--port", type=int, default=0, metavar="N", help="default: the run's own, or a free one")
    parser.add_argument("--state", metavar="FILE", help="a class design, or what the page saved, to begin with")
    parser.add_argument("--open", action="store_true", help="open the browser")


def run(args: argparse.Namespace) -> None:
    """Serves until Ctrl-C."""
    from clipjax.explore.serve import serve

    serve(Path(args.run), args.host, args.port, args.open, Path(args.state) if args.state else None)
