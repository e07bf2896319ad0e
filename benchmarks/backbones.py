"""Compare networks with other backbones by what needs no calibration: their boundary map and their superpixels.

In   a folder with BSDS500, a split, two or more models: NAME=FILE, or the name of a packaged one
Out  a table: boundary F of the thinned map; ASA, boundary recall and compactness at each count of superpixels
Not  no hierarchies, which would need a calibration of each network; no training

    python benchmarks/backbones.py --split val compact vit=runs/ssn_dino_bsds500/model.safetensors
"""

import argparse
from collections.abc import Sequence

from common import markdown_facts, markdown_table, positive_int, run_facts, score
from hierarchies import OfMap

from supercuts.datasets.bsds500 import BSDS500
from supercuts.datasets.sample import data_root
from supercuts.evaluate import report, scorers
from supercuts.evaluate.hierarchies import summarise
from supercuts.networks.network import weights_path

FIGURES = {"ASA": "asa", "BR": "boundary_recall", "compactness": "compactness"}


def main() -> None:
    """Measure and print."""
    arguments = parse()
    samples = BSDS500(data_root(arguments.data), arguments.split)[: arguments.limit]
    facts = {**run_facts(), "data": f"BSDS500 {arguments.split}, {len(samples)} images", "views": "one"}
    rows = [row_of(model, samples, arguments.superpixels, arguments.workers) for model in arguments.models]
    print(markdown_facts(facts))
    of_counts = [f"{name} at {count}" for count in arguments.superpixels for name in FIGURES]
    print(f"\n{markdown_table(('network', 'F ODS', 'F OIS', 'AP', *of_counts), rows)}")


def row_of(model: str, samples: Sequence[object], counts: Sequence[int], n_workers: int) -> list[str]:
    """Return the row of a model."""
    name, _, path = model.rpartition("=")
    weights = weights_path(path)
    methods = [scorers.of_model(str(n), samples, scorers.SuperpixelsOfModel(path, n), weights) for n in counts]
    superpixels = report.superpixel_document({}, score(methods, n_workers))["methods"]
    (maps,) = score([scorers.of_model("map", samples, OfMap(path, "one"), weights)], n_workers)
    boundary = summarise(list(maps.scores.values()))
    row = [boundary[figure] for figure in ("boundary_ods_f", "boundary_ois_f", "boundary_ap")]
    row += [entry["figures"]["mean"][figure] for entry in superpixels for figure in FIGURES.values()]
    return [name or path, *(f"{value:.4f}" for value in row)]


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "models", nargs="+", metavar="[NAME=]MODEL", help="a name or a path, as supercuts.load takes it"
    )
    parser.add_argument("--data", help="folder with BSDS500; else $SUPERCUTS_DATA, else ./data")
    parser.add_argument("--split", choices=("train", "val", "test"), default="val")
    parser.add_argument("--superpixels", type=positive_int, nargs="+", default=[200, 600])
    parser.add_argument("--limit", type=positive_int, help="only the first N images")
    parser.add_argument("--workers", type=positive_int, default=2, help="processes, one thread each")
    return parser.parse_args()


if __name__ == "__main__":
    main()
