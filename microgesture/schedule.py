"""ML-CO (FG-SGL, Sec. III-E): the weight of each loss term as a pure function of training progress."""

from __future__ import annotations

ORDERS = ("cp_first", "fg_first", "level")
"""The paper's order; the reverse of it; and no stages, but the paper's share of L_fg spread over all of training."""


def stage(progress: float, stage2_start: float) -> int:
    """The stage of an optimizer step.

    Args:
        progress: Steps done before this one, as a share of all steps, 0 to 1.
        stage2_start: Share of training after which stage 2 begins.

    Returns:
        1 (L_cls + L_cp) or 2 (L_fg as well); with the order `fg_first` the two terms change places.
    """
    return 2 if progress >= stage2_start else 1


def term_weights(
    progress: float,
    *,
    lambda_fg: float,
    lambda_cp: float,
    stage2_start: float,
    ml_co: bool = True,
    order: str = "cp_first",
) -> dict[str, float]:
    """Weights of the terms of eq. 3 at one optimizer step.

    In stage 1 `fg` (or `cp`) has weight 0 and is still computed: then every parameter takes part in every step, which
    data-parallel wrappers need.

    Args:
        progress: Steps done before this one, as a share of all steps.
        lambda_fg: λ_fg.
        lambda_cp: λ_cp.
        stage2_start: Share of training after which stage 2 begins.
        ml_co: `False` gives all terms from the start (Table II, row 3).
        order: One of `ORDERS`. Controls of ML-CO: `fg_first` begins with L_cls + L_fg and adds L_cp; `level` has all
            terms from the start, L_fg with (1 - stage2_start)·λ_fg, whose sum over training is that of `cp_first`.

    Returns:
        `{"cls": 1, "cp": λ_cp or 0, "fg": λ_fg or 0}`.
    """
    whole = {"cls": 1.0, "cp": lambda_cp, "fg": lambda_fg}
    if ml_co and order == "level":
        return whole | {"fg": lambda_fg * (1 - stage2_start)}
    if not ml_co or stage(progress, stage2_start) == 2:
        return whole
    return whole | ({"cp": 0.0} if order == "fg_first" else {"fg": 0.0})
