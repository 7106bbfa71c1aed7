"""ML-CO (FG-SGL, Sec. III-E): the weight of each loss term as a pure function of training progress."""

from __future__ import annotations


def stage(progress: float, stage2_start: float) -> int:
    """The stage of an optimizer step.

    Args:
        progress: Steps done before this one, as a share of all steps, 0 to 1.
        stage2_start: Share of training after which stage 2 begins.

    Returns:
        1 (L_cls + L_cp) or 2 (L_fg as well).
    """
    return 2 if progress >= stage2_start else 1


def term_weights(
    progress: float, *, lambda_fg: float, lambda_cp: float, stage2_start: float, ml_co: bool = True
) -> dict[str, float]:
    """Weights of the terms of eq. 3 at one optimizer step.

    In stage 1 `fg` has weight 0 and is still computed: then every parameter takes part in every step, which
    data-parallel wrappers need.

    Args:
        progress: Steps done before this one, as a share of all steps.
        lambda_fg: λ_fg.
        lambda_cp: λ_cp.
        stage2_start: Share of training after which stage 2 begins.
        ml_co: `False` gives all terms from the start (Table II, row 3).

    Returns:
        `{"cls": 1, "cp": λ_cp, "fg": λ_fg or 0}`.
    """
    in_stage_2 = not ml_co or stage(progress, stage2_start) == 2
    return {"cls": 1.0, "cp": lambda_cp, "fg": lambda_fg if in_stage_2 else 0.0}
