"""What ``import bolearn`` costs beyond torch and gpytorch, and what the first use of it adds.

python -m benchmarks.imports [--repeats 9]
"""

import argparse
import statistics
import subprocess
import sys

_CODE = """
import time, torch, gpytorch
start = time.perf_counter()
import bolearn
imported = time.perf_counter()
bolearn.study, bolearn.ExactGP, bolearn.optimize_acqf, bolearn.problems
print(imported - start, time.perf_counter() - imported)
"""


def main() -> None:
    """Import in fresh interpreters and print the medians."""
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--repeats", type=int, default=9)
    repeats = ask.parse_args().repeats
    pairs = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
        )
        pairs.append([float(x) for x in done.stdout.split()])
    for what, seconds in zip(
        ("import bolearn, beyond torch and gpytorch (bar: 0.1 s)", "first use of all its modules"),
        zip(*pairs, strict=True),
        strict=True,
    ):
        print(
            f"{what}: median {statistics.median(seconds):.3f} s, "
            f"{min(seconds):.3f} to {max(seconds):.3f} s over {repeats} fresh interpreters"
        )


if __name__ == "__main__":
    main()
