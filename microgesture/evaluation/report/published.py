"""The figures of the paper's own tables (FG-SGL, arXiv 2603.16269), and what they can be compared with.

They are the authors', in per cent top-1; none was measured here. Where the reading of a figure depends on more than
the paper, `NOT_COMPARABLE` and `NOTES` say on what.
"""

from __future__ import annotations

from dataclasses import dataclass

DATASETS = {"smg": "SMG", "imigue": "iMiGUE"}
TEST_CLIPS = {"smg": (610,), "imigue": (4562, 4563)}
"""Clips of the test splits; of iMiGUE, the list of the MiGA challenge has 4,562 and the data set's paper 4,563."""


@dataclass(frozen=True)
class PublishedResult:
    """One row of Table I.

    Args:
        method: As the table names it.
        year: As in the table.
        modality: As in the table.
        smg: Top-1 on SMG in per cent, `None` for N/A.
        imigue: The same on iMiGUE.
    """

    method: str
    year: int
    modality: str
    smg: float | None
    imigue: float | None


@dataclass(frozen=True, order=True)
class Components:
    """What a row of Tables II and III trains with.

    Args:
        fg_sa: Fine-grained semantic alignment.
        cp_a: Category prototype alignment.
        ml_co: Two stages.
        fg_text: `fine` or `class`.
    """

    fg_sa: bool = True
    cp_a: bool = True
    ml_co: bool = True
    fg_text: str = "fine"


TABLE_1 = (
    PublishedResult("TSM", 2019, "RGB", 65.41, None),
    PublishedResult("MS-G3D", 2020, "Skeleton", 64.75, None),
    PublishedResult("JSSSEL", 2023, "Skeleton", 68.03, 64.12),
    PublishedResult("CVTCL", 2024, "RGB", 65.08, 66.12),
    PublishedResult("MMGC", 2024, "Skeleton", None, 68.90),
    PublishedResult("PL", 2024, "RGB + Skeleton", None, 70.25),
    PublishedResult("M2HEN", 2024, "RGB + Skeleton", None, 70.19),
    PublishedResult("H2OFormer", 2025, "Skeleton", 75.44, 70.00),
    PublishedResult("MMN", 2025, "Skeleton", None, 60.21),
    PublishedResult("CLIP-MG", 2025, "RGB + Skeleton", None, 61.82),
    PublishedResult("FG-SGL", 2025, "RGB", 78.13, 62.58),
)
TABLE_2 = {
    Components(fg_sa=False): (76.51, 59.29),
    Components(cp_a=False): (73.22, 57.08),
    Components(ml_co=False): (77.70, 60.72),
    Components(): (78.13, 62.58),
}
TABLE_3 = {Components(fg_text="class"): (76.55, 59.36), Components(): (78.13, 62.58)}

NOT_COMPARABLE = {
    "H2OFormer": "accuracy of recognising emotions, of two classes, and not of micro-gestures (its paper's title says "
    "so, and 75.44 % is 43 of 57)"
}
NOTES = (
    "H2OFormer: both figures are accuracies of recognising emotions. They must not be compared with any other row.",
    "TSM on SMG is the figure that the data set's authors mark with a star; theirs without it is 58.69.",
    "TSM and MS-G3D are N/A on iMiGUE in the table; the data set's authors report 61.10 and 54.91.",
    "MMGC: its title says multi-modal, the table says skeleton.",
    "On iMiGUE, CVTCL's 66.12 and CLIP-MG's 61.82 are shares of 4,563 clips and of no 4,562; FG-SGL's figures are "
    "shares of 4,562.",
    "On SMG, 78.13, 76.51, 73.22 and 76.55 are k/610 for no whole k, so they were not counted clip by clip on the "
    "610 test clips (78.125 is 500/640: perhaps padded batches). A difference of a few tenths to them means nothing.",
    "The most frequent class alone is 39.8 % of SMG's test split.",
)


def clips_of(percent: float, totals: tuple[int, ...]) -> tuple[int, int] | None:
    """The whole k of N that a published percentage can be.

    Args:
        percent: The figure, with two decimals.
        totals: The N that come into question, the likeliest first.

    Returns:
        k and N, or `None` where no k of any N gives that figure.
    """
    for total in totals:
        k = round(percent / 100 * total)
        if f"{100 * k / total:.2f}" == f"{percent:.2f}":
            return k, total
    return None
