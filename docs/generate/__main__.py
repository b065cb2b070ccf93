"""Make the site: run lessons whose scripts changed, write pages and notebooks, build with mkdocs.

python -m docs.generate [--all] [--no-site]
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from docs.generate import learn, outputs
from docs.generate.words import ROOT
from zoo import lessons


def main() -> int:
    """Make everything; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--all", action="store_true", help="Run every lesson anew.")
    parser.add_argument("--no-site", action="store_true", help="Write the lessons' files alone.")
    options = parser.parse_args()
    failed = run_lessons(all_anew=options.all)
    if failed:
        return 1
    for path in learn.write():
        say(f"written: {path.relative_to(ROOT)}")
    if options.no_site:
        return 0
    from docs.generate import site

    began = time.perf_counter()
    site.generate(ROOT / "docs")
    code = site.build(ROOT / "docs", ROOT / "site")
    say(f"site/ in {time.perf_counter() - began:.0f} s" if code == 0 else "the site has errors")
    return code


def run_lessons(*, all_anew: bool) -> int:
    """Run the lessons whose records are out of date, two at a time; return how many failed."""
    stale = [lesson for lesson in lessons.lessons() if all_anew or not outputs.is_current(lesson)]
    say(f"{len(stale)} of {len(lessons.names())} lessons to run")

    def renew(lesson: lessons.Lesson) -> str:
        began = time.perf_counter()
        try:
            outputs.renew(lesson)
        except RuntimeError as error:
            say(str(error))
            return lesson.name
        say(f"{lesson.name}: both languages in {time.perf_counter() - began:.0f} s")
        return ""

    with ThreadPoolExecutor(2) as pool:
        failed = [name for name in pool.map(renew, stale) if name]
    if failed:
        say(f"failed: {', '.join(failed)}")
    return len(failed)


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
