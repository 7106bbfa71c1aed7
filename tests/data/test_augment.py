"""Augmentation depends on (seed, epoch, clip) alone and treats all frames of a clip alike."""

from __future__ import annotations

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
    numbers = torch.arange(3 * T, dtype=torch.uint8).view(1, -1, 1, 1, 1).expand(400, -1, 3, 2, 2)
    rows = torch.stack([augment.draw(0, 0, i) for i in range(400)])
    picked = augment.warp_time(numbers, rows)[:, :, 0, 0, 0].long()
    assert picked.shape == (400, T)
    assert (picked.diff(dim=1) > 0).all()
    span = (picked[:, -1] - picked[:, 0]).float() / (3 * T) * T / (T - 1)
    assert 0.6 < float(span.min()) < 0.75
    assert 0.95 < float(span.max()) <= 1.05


def test_the_whole_clip_unwarped_is_its_own_frames() -> None:
    """Frame 3k + 1 of 3T lies at (k + 1/2) / T: the middle of each three are the frames of plain sampling."""
    numbers = torch.arange(24, dtype=torch.uint8).view(1, -1, 1, 1, 1).expand(1, -1, 3, 2, 2)
    whole = torch.ones(1, augment.PARAMETERS)
    assert augment.warp_time(numbers, whole)[0, :, 0, 0, 0].tolist() == list(range(1, 24, 3))


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
