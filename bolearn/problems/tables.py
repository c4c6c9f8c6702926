"""Measured experiments as problems: reactions, blends, flow chemistry, with every answer known.

Taught in part_5/tutorial_03.
"""

from ..data import reactions
from ..errors import DataError
from ..shapes import is_whole
from ..space.parameters import Categorical, Real
from ..space.space import Space
from .spaces import TableProblem


class BuchwaldHartwig(TableProblem):
    """Yields of a C-N coupling, in per cent: 4 ligands x 3 bases x 22 additives for one halide.

    Each of the 264 conditions (for a few halides 262 or 263) was measured once, so that the best
    entry holds some luck. Additives are labelled by their SMILES.

    Args:
        halide: which of the 15 aryl halides: a number from 0 to 14, or its SMILES.

    Raises:
        DataError: no such halide.

    Example:
        >>> problem = BuchwaldHartwig(halide=5)
        >>> problem.optimal_value, problem.space.num_designs
        (45.05, 264)

    Source:
        Ahneman, Estrada, Lin, Dreher & Doyle, "Predicting reaction performance in C-N
        cross-coupling using machine learning", Science 360 (2018) 186,
        doi:10.1126/science.aar5169; see `bolearn.data.reactions`.
    """

    def __init__(self, halide: int | str = 5) -> None:
        halides, additives = reactions.smiles("aryl_halide"), reactions.smiles("additive")
        index = halides.index(halide) if halide in halides else halide
        if not is_whole(index) or not 0 <= index < len(halides):
            raise DataError(
                f"halide: expected a number from 0 to {len(halides) - 1}, or a SMILES such as "
                f"{halides[5]!r}, got {halide!r}"
            )
        space = Space(
            [
                Categorical("ligand", reactions.LIGANDS),
                Categorical("base", reactions.BASES),
                Categorical("additive", additives),
            ]
        )
        table = [
            {
                "ligand": reactions.LIGANDS[int(row["ligand"])],
                "base": reactions.BASES[int(row["base"])],
                "additive": additives[int(row["additive"])],
                "yield in %": float(row["yield_percent"]),
            }
            for row in reactions.rows("buchwald_hartwig.csv")
            if int(row["aryl_halide"]) == index
        ]
        name = f"Buchwald-Hartwig, {halides[index]}"
        super().__init__(table, space, "yield in %", name=name)


class Suzuki(TableProblem):
    """Yields of a Suzuki coupling, in per cent, over four ordered inputs of four levels each.

    247 of the 256 conditions were measured. The amounts of ArBpin are not evenly spaced and
    therefore an ordered category.

    Example:
        >>> problem = Suzuki()
        >>> problem.optimal_value, len(problem.unavailable)
        (96.9, 9)

    Source:
        The set "suzuki" of Olympus: Häse et al., "Olympus: a benchmarking framework for noisy
        optimization and experiment planning", Mach. Learn.: Sci. Technol. 2 (2021) 035021; see
        `bolearn.data.reactions`.
    """

    def __init__(self) -> None:
        space = Space(
            [
                Real("temperature", 75, 90, unit="°C", step=5),
                Real("palladium", 0.5, 5, unit="mol%", step=1.5),
                Categorical("ArBpin in equivalents", [1.0, 1.2, 1.5, 1.8], ordered=True),
                Real("K3PO4", 1.5, 3, unit="equivalents", step=0.5),
            ]
        )
        table = [
            {
                **{n: float(row[c]) for n, c in zip(space.names, reactions.SUZUKI, strict=False)},
                "yield in %": float(row["yield_percent"]),
            }
            for row in reactions.rows("suzuki.csv")
        ]
        super().__init__(table, space, "yield in %", name="Suzuki coupling")


class Blends(TableProblem):
    """How well blends for solar cells keep under light, over four fractions that sum to one.

    Two polymers (PCE10, P3HT) and two small molecules (PCBM, oIDTBR); what was measured is the
    degradation, from which the sign is flipped once, here: the best value is the least degradation.
    1,040 films of 1,020 blends, in steps of 0.02; repeats are averaged. The space has 23,426 legal
    blends, of which only the measured ones can be asked.

    Example:
        >>> problem = Blends()
        >>> problem.optimal_value, len(problem.points), problem.space.num_designs
        (-0.001623, 1020, 23426)

    Source:
        Langner et al., Advanced Materials 32 (2020) 1907801; the set "photo_pce10" of Olympus (see
        `bolearn.data.reactions`).
    """

    def __init__(self) -> None:
        names = reactions.BLENDS[:4]
        total = " + ".join(names) + " == 1"
        space = Space([Real(name, 0, 1, step=0.02) for name in names], constraints=[total])
        table = [
            {**{n: float(row[n]) for n in names}, "minus degradation": -float(row["degradation"])}
            for row in reactions.rows("photo_pce10.csv")
        ]
        super().__init__(table, space, "minus degradation", name="blends")


class Fullerenes(TableProblem):
    """Mole fraction of the product of a reaction in flow, over a grid of 6 x 6 x 6 settings.

    246 runs of 216 settings; repeats are averaged. 13 settings lie within 0.01 of the best, which
    is about one standard deviation of the repeats.

    Example:
        >>> problem = Fullerenes()
        >>> problem.optimal_value, len(problem.points), len(problem.unavailable)
        (0.953133, 216, 0)

    Source:
        Walker, Bannock, Nightingale & deMello, React. Chem. Eng. 2 (2017) 785; the set "fullerenes"
        of Olympus (see `bolearn.data.reactions`).
    """

    def __init__(self) -> None:
        space = Space(
            [
                Real("time", 3, 31, unit="min", step=5.6),
                Real("sultine", 1.5, 6, unit="equivalents", step=0.9),
                Real("temperature", 100, 150, unit="°C", step=10),
            ]
        )
        table = [
            {
                **{
                    n: float(row[c])
                    for n, c in zip(space.names, reactions.FULLERENES, strict=False)
                },
                "mole fraction": float(row["mole_fraction"]),
            }
            for row in reactions.rows("fullerenes.csv")
        ]
        super().__init__(table, space, "mole fraction", name="fullerenes")


class ReizmanSuzuki(TableProblem):
    """Yields of a Suzuki coupling in flow, in per cent: catalyst, time, temperature and loading.

    Four pairs of reactants, each with 80 to 95 settings of eight catalysts and three numbers (96 or
    97 runs; repeats are averaged). The settings are no grid, so that a replay picks among them;
    what lies between would need an emulator, and none orders the best quarter of the settings.

    Args:
        case: which pair of reactants, 1 to 4.

    Raises:
        DataError: no such case.

    Example:
        >>> problem = ReizmanSuzuki(case=3)
        >>> problem.optimal_value, len(problem.points)
        (94.1, 93)

    Source:
        Reizman, Wang, Buchwald & Jensen, React. Chem. Eng. 1 (2016) 658; by way of Summit (see
        `bolearn.data.reactions`).
    """

    def __init__(self, case: int = 1) -> None:
        if not is_whole(case) or not 1 <= case <= 4:
            raise DataError(f"case: expected 1, 2, 3 or 4, got {case!r}")
        runs = reactions.rows("reizman_suzuki.csv")
        space = Space(
            [
                Categorical("catalyst", sorted({row["catalyst"] for row in runs})),
                Real("time", 60, 600, unit="s"),
                Real("temperature", 30, 110, unit="°C"),
                Real("loading", 0.48, 2.52, unit="mol%"),
            ]
        )
        table = [
            {
                "catalyst": row["catalyst"],
                "time": float(row["t_res"]),
                "temperature": float(row["temperature"]),
                "loading": float(row["catalyst_loading"]),
                "yield in %": float(row["yld"]),
            }
            for row in runs
            if int(row["case"]) == case
        ]
        super().__init__(table, space, "yield in %", name=f"Suzuki coupling in flow, case {case}")
