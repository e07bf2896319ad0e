"""Run trainings in processes that may be killed: one process imports all once, and forks for each run.

In   lines on stdin: the configuration of a run
Out  lines on stdout: the process's number when a run begins, `done` and its status when it has ended
Not  no kills (tests/training/test_kills.py)
"""

import contextlib
import importlib
import os
import sys
from pathlib import Path


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # progress bars are not part of the answer
    import torch

    from supercuts.core.config import load_config
    from supercuts.training.ssn import train_ssn
    from supercuts.training.training_config import TrainConfig

    torch.set_num_threads(1)  # no pool of threads, which does not survive a fork
    print("ready", file=answers)
    for line in sys.stdin:
        known = f"{line.rstrip()}.modules"
        child = os.fork()
        if child == 0:
            status = 1
            try:
                train_ssn(load_config(line.rstrip("\n"), TrainConfig))
                Path(known).write_text("\n".join(sys.modules))
                status = 0
            finally:
                os._exit(status)
        print(child, file=answers)
        print("done", os.waitpid(child, 0)[1], file=answers)
        if Path(known).is_file():  # late imports of a whole run, done once instead of in every run
            for name in Path(known).read_text().splitlines():
                with contextlib.suppress(Exception):
                    importlib.import_module(name)


if __name__ == "__main__":
    main()
