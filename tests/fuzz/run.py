"""Try many inputs on every reader and print the outcomes: `python tests/fuzz/run.py --inputs 400`.

In   --inputs changes of each seed, --seed of the random generator, --kind of one reader alone
Out  a table as text, the whole of it as JSON with --json; exit code 1 if an input broke a reader
Not  limits of time and memory (harness.py)
"""

import argparse
import functools
import json
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from corpus import Case, mutants
from forgeries import FORGERIES
from harness import MIB, SECONDS, judge, table
from seeds import SEEDS


def cases(n: int, seed: int, kinds: list[str]) -> Iterator[Case]:
    """Yield every seed unchanged, n changes of each, and the forgeries."""
    for kind in kinds:
        rng = np.random.default_rng([seed, zlib.crc32(kind.encode())])
        for files, target in SEEDS[kind]():
            yield Case(kind, f"{target}, whole", files, target)
            yield from mutants(kind, files, target, rng, n)
    for kind, name, files, target in _forged():
        if kind in kinds:
            yield Case(kind, name, files, target)


@functools.cache
def _forged() -> list[tuple[str, str, dict[str, bytes], str]]:
    return [forged for make in FORGERIES for forged in make()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", action="append", choices=list(SEEDS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    verdicts = judge(cases(arguments.inputs, arguments.seed, arguments.kind or list(SEEDS)))
    rows = table(verdicts)
    say = sys.stdout.write
    for row in [dict(zip(rows[0], rows[0], strict=True)), *rows]:
        say("".join(f"{value!s:>{20 if name == 'kind' else 12}.20}" for name, value in row.items()) + "\n")
    say(f"limits: {SECONDS:.0f} s an input, {MIB} MiB; {time.monotonic() - started:.0f} s in all\n")
    broken = [v for v in verdicts if v.outcome == "broken"]
    for verdict in broken:
        say(f"\nBROKEN {verdict.case.kind}: {verdict.case.name}: {verdict.error}\n{verdict.trace}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
