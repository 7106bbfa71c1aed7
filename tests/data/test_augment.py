"""Augmentation depends on (seed, epoch, clip) alone and treats all frames of a clip alike."""

from __future__ import annotations

import pytest
import torch

from microgesture.data import augment


def frames(B: int = 3) -> torch.Tensor:
    return torch.randint(0, 256, (B, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_drawing_is_a_function_of_seed_epoch_and_clip() -> None:
    drawn = {(s, e, i): augment.draw(s, e, i) for s in (0, 1) for e in (0, 1) for i in (0, 1)}
    assert all(torch.equal(augment.draw(*key), value) for key, value in drawn.items())
    rows = torch.stack(list(drawn.values()))
    assert len(torch.unique(rows, dim=0)) == 8
    assert rows.abs().max() <= 1


def test_nothing_drawn_changes_nothing() -> None:
    same = augment.apply(frames(), torch.zeros(3, augment.PARAMETERS))
    torch.testing.assert_close(same, frames().float(), atol=0.01, rtol=0)


def test_time_is_warped_within_the_clip_and_in_order() -> None:
    T = 8
    numbers = torch.arange(3 * T, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    picked = torch.stack([augment.pick(numbers, augment.draw(0, 0, i))[:, 0, 0, 0] for i in range(400)]).long()
    assert picked.shape == (400, T)
    assert (picked.diff(dim=1) > 0).all()
    span = (picked[:, -1] - picked[:, 0]).float() / (3 * T) * T / (T - 1)
    assert 0.6 < float(span.min()) < 0.75
    assert 0.95 < float(span.max()) <= 1.05


def test_the_whole_clip_unwarped_is_its_own_frames() -> None:
    """Frame 3k + 1 of 3T lies at (k + 1/2) / T: the middle of each three are the frames of plain sampling."""
    numbers = torch.arange(24, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    whole = torch.ones(augment.PARAMETERS)
    assert augment.pick(numbers, whole)[:, 0, 0, 0].tolist() == list(range(1, 24, 3))


def test_all_frames_of_a_clip_are_changed_alike() -> None:
    still = frames()[:, :1].expand(-1, 4, -1, -1, -1).contiguous()
    out = augment.apply(still, torch.stack([augment.draw(0, 0, i) for i in range(3)]))
    torch.testing.assert_close(out, out[:, :1].expand_as(out))
    assert not torch.allclose(out, still.float())
    assert out.min() >= 0
    assert out.max() <= 255


def test_a_clip_is_changed_the_same_in_any_batch() -> None:
    drawn = torch.stack([augment.draw(0, 0, i) for i in range(3)])
    torch.testing.assert_close(augment.apply(frames(), drawn)[1:2], augment.apply(frames()[1:2], drawn[1:2]))


def test_less_camera_moves_less_and_leaves_tempo_and_colour() -> None:
    full, half = augment.draw(0, 1, 2), augment.draw(0, 1, 2, camera=0.5)
    torch.testing.assert_close(half[:4], full[:4] / 2)
    torch.testing.assert_close(half[4:], full[4:])


def test_a_shift_moves_the_picture_by_its_share() -> None:
    dot = torch.zeros(1, 1, 3, 100, 100, dtype=torch.uint8)
    dot[..., 50, 50] = 255
    p = torch.zeros(1, augment.PARAMETERS)
    p[0, 0] = 1.0
    moved = augment.apply(dot, p)[0, 0, 0]
    row, column = divmod(int(moved.argmax()), 100)
    assert (row, column) == (50, 50 - round(100 * augment.SHIFT))


# ---- JPEG ----------------------------------------------------------------------------------------------------------


def picture() -> torch.Tensor:
    """A smooth picture with edges `(3, 64, 64)`, as JPEG is made for."""
    ramp = torch.arange(64).float()
    base = torch.stack(
        [ramp[None] * 3 + ramp[:, None], (ramp[:, None] * 4).expand(64, 64), 255 - ramp[None] * 2 - ramp[:, None]]
    )
    base[:, 20:40, 20:40] += 60
    return base.clamp(0, 255).to(torch.uint8)


def test_jpeg_changes_little_and_less_at_a_higher_quality() -> None:
    pytest.importorskip("PIL")
    clip = picture().expand(3, -1, -1, -1)
    out = augment.degrade(clip, [75, 90, 100])
    assert (out.shape, out.dtype) == (clip.shape, torch.uint8)
    errors = (out.float() - clip.float()).square().mean((1, 2, 3)).tolist()
    assert 30 > errors[0] > errors[1] > errors[2] > 0


def test_each_frame_has_a_quality_of_its_own_out_of_all_that_internvl_uses() -> None:
    drawn = [augment.draw_qualities(0, epoch, clip, 8) for epoch in range(4) for clip in range(50)]
    flat = [quality for row in drawn for quality in row]
    assert set(flat) == set(range(75, 101))
    assert drawn[0] == augment.draw_qualities(0, 0, 0, 8)
    assert len({tuple(row) for row in drawn}) == 200
    assert any(len(set(row)) > 4 for row in drawn)


def test_without_pillow_the_option_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(augment, "Image", None)
    augment.Augmentation(0, vary=True)
    with pytest.raises(ImportError, match=r"jpeg_degradation needs Pillow\. Run: pip install pillow"):
        augment.Augmentation(0, jpeg=True)


# ---- mirroring -----------------------------------------------------------------------------------------------------

PAIRS = [(1, 2), (3, 4)]  # joint 0 is in the middle


def test_keypoints_stay_on_their_pixels_and_left_becomes_right() -> None:
    """A dot is painted on each joint, in a colour of its own: the mirrored joints lie on the mirrored dots."""
    T, J, W = 3, 5, 32
    points = torch.stack([torch.randperm(W)[:J] + 0.0 for _ in range(T)])[..., None].repeat(1, 1, 3)
    points[..., 1] = torch.arange(J) * 3 + 1
    points[..., 2] = torch.rand(T, J)
    frames = torch.zeros(T, 3, 20, W, dtype=torch.uint8)
    for t in range(T):
        for j in range(J):
            frames[t, :, int(points[t, j, 1]), int(points[t, j, 0])] = 50 + j
    turned = augment.mirror(frames[None], torch.tensor([True]))[0]
    mirrored = augment.mirror_keypoints(points, PAIRS, W)
    other = {0: 0, 1: 2, 2: 1, 3: 4, 4: 3}
    for t in range(T):
        for j in range(J):
            x, y, seen = mirrored[t, j].tolist()
            assert turned[t, 0, int(y), int(x)] == 50 + other[j]
            assert seen == points[t, other[j], 2]
    assert torch.equal(augment.mirror_keypoints(mirrored, PAIRS, W), points)


def test_keypoints_around_zero_change_their_sign() -> None:
    points = torch.tensor([[[0.5, 1.0, 2.0], [-0.25, 1.0, 3.0]]])
    assert augment.mirror_keypoints(points, [(0, 1)], 1).tolist() == [[[0.25, 1.0, 3.0], [-0.5, 1.0, 2.0]]]


@pytest.mark.parametrize("pairs", [[(0, 1), (1, 2)], [(0, 5)], [(0, 0)], [(-1, 0)]])
def test_pairs_that_fit_no_skeleton_are_refused(pairs) -> None:
    with pytest.raises(ValueError, match=r"must name each joint of 0 to 4 at most once"):
        augment.mirror_keypoints(torch.zeros(2, 5, 3), pairs, 10)


def test_only_the_clips_that_are_meant_are_mirrored() -> None:
    clips = frames()
    out = augment.mirror(clips, torch.tensor([True, False, True]))
    assert out.dtype == torch.uint8
    for before, after, turned in zip(clips, out, (True, False, True), strict=True):
        assert torch.equal(after, before.flip(-1) if turned else before)


def test_every_other_clip_is_mirrored_whatever_else_is_drawn() -> None:
    drawn = torch.stack([augment.draw(0, epoch, clip) for epoch in range(5) for clip in range(400)])
    turned = torch.tensor([augment.mirrors(row) for row in drawn]).float()
    assert 0.45 < turned.mean() < 0.55
    correlation = torch.corrcoef(torch.cat([drawn[:, :11], turned[:, None]], 1).T)[-1, :-1]
    assert correlation.abs().max() < 0.1
