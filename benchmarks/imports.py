"""What ``import bolearn`` costs beyond torch and gpytorch.

python -m benchmarks.imports
"""

import statistics
import subprocess
import sys

_CODE = """
import time, torch, gpytorch
start = time.perf_counter()
import bolearn
print(time.perf_counter() - start)
"""


def main(repeats: int = 9) -> None:
    """Import in fresh interpreters and print the median."""
    seconds = [
        float(
            subprocess.run(
                [sys.executable, "-c", _CODE], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(repeats)
    ]
    print(
        f"import bolearn beyond torch and gpytorch: median {statistics.median(seconds):.3f} s, "
        f"{min(seconds):.3f} to {max(seconds):.3f} s over {repeats} fresh interpreters (bar: 0.1)"
    )


if __name__ == "__main__":
    main()
