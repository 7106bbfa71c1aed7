"""ViTPose: crops and joints against transformers' own processor and against plain loops."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from microgesture.people import pose
from microgesture.people.pose import PoseEstimator, joints, warp, widened

BOXES = np.array([[40, 30, 180, 200], [100, -5, 330, 100], [200, 100, 260, 239.5]], np.float32)
XYWH = [[float(v) for v in (x, y, right - x, bottom - y)] for x, y, right, bottom in BOXES]


def picture(height: int = 240, width: int = 320) -> torch.Tensor:
    noise = np.random.default_rng(0).uniform(0, 255, (height, width, 3))
    smooth = gaussian_filter(noise, (2, 2, 0))
    return torch.from_numpy((255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8))


def heatmaps(seed: int, count: int = 3, noise: float = 0.01) -> tuple[torch.Tensor, np.ndarray]:
    """Gaussians at known places `(count, 17, 2)`, with noise."""
    rng = np.random.default_rng(seed)
    h, w = 64, 48
    places = np.stack([rng.uniform(0, w - 1, (count, 17)), rng.uniform(0, h - 1, (count, 17))], -1)
    y, x = np.mgrid[:h, :w]
    apart = (x - places[..., 0, None, None]) ** 2 + (y - places[..., 1, None, None]) ** 2
    heat = 0.9 * np.exp(-apart / 8) + rng.normal(0, noise, apart.shape)
    return torch.from_numpy(heat).float(), places


def test_crops_are_those_of_transformers() -> None:
    given = picture()
    processor = VitPoseImageProcessorPil()
    expected = processor(given.numpy(), boxes=[XYWH], return_tensors="pt", do_normalize=False)["pixel_values"] * 255
    middle, size = widened(torch.from_numpy(BOXES), 192 / 256)
    for number in range(3):
        ours = warp(given, middle[number], size[number], 256, 192)
        x = float(middle[number, 0]) + (np.arange(192) / 191 - 0.5) * float(size[number, 0])
        y = float(middle[number, 1]) + (np.arange(256) / 255 - 0.5) * float(size[number, 1])
        # Within a pixel outside the picture theirs is black at once, ours fades, as OpenCV's does in training.
        edge = [((v < 0) & (v > -1)) | ((v > last) & (v < last + 1)) for v, last in ((y, 239), (x, 319))]
        sure = ~(edge[0][:, None] | edge[1][None])
        apart = (ours - expected[number]).abs().amax(0).numpy()[sure]
        assert apart.max() <= 1.001
        assert (apart > 0.5).mean() < 0.01  # ties are rounded either way
        assert sure.mean() > 0.97


def test_a_warp_is_a_loop_over_pixels() -> None:
    given = picture(20, 30)
    out = warp(given, torch.tensor([12.3, 21.0]), torch.tensor([25.0, 14.0]), 9, 7)
    image = given.numpy().astype(np.float64)
    for row in range(9):
        for column in range(7):
            x, y = 12.3 + (column / 6 - 0.5) * 25, 21 + (row / 8 - 0.5) * 14
            value = np.zeros(3)
            for j in (math.floor(y), math.floor(y) + 1):
                for i in (math.floor(x), math.floor(x) + 1):
                    if 0 <= j < 20 and 0 <= i < 30:
                        value += image[j, i] * (1 - abs(x - i)) * (1 - abs(y - j))
            assert np.abs(out[:, row, column].numpy() - value).max() <= 0.501
    assert (warp(given, torch.tensor([500.0, 5.0]), torch.tensor([25.0, 14.0]), 9, 7) == 0).all()


def test_widened_boxes_keep_the_aspect_ratio_and_hold_the_box() -> None:
    middle, size = widened(torch.from_numpy(BOXES), 0.75)
    torch.testing.assert_close(size[:, 0] / size[:, 1], torch.full((3,), 0.75))
    torch.testing.assert_close(middle, torch.tensor([[110.0, 115.0], [215.0, 47.5], [230.0, 169.75]]))
    torch.testing.assert_close(size.amax(1) / 1.25, torch.tensor([140 / 0.75, 230 / 0.75, 139.5]))


def test_joints_are_those_of_transformers() -> None:
    heat, places = heatmaps(0)
    answers = VitPoseImageProcessorPil().post_process_pose_estimation(SimpleNamespace(heatmaps=heat), [XYWH])[0]
    expected = torch.stack([answer["keypoints"] for answer in answers])
    found, scores = joints(heat)
    middle, size = widened(torch.from_numpy(BOXES), 192 / 256)
    ours = middle[:, None] + (found / torch.tensor([47, 63]) - 0.5) * size[:, None]
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=0)
    torch.testing.assert_close(scores, torch.stack([answer["scores"] for answer in answers]))
    inside = ((places > 2) & (places < [45, 61])).all(-1)
    assert np.abs(found.numpy() - places)[inside].max() < 0.3  # a peak alone would be off by up to 0.5
    assert np.abs(found.numpy() - places)[inside].mean() < 0.1


def refined(heat: np.ndarray) -> tuple[float, float]:
    """One joint, by the formula: peak − H⁻¹ ∇ of the logarithm of the smoothed heatmap."""
    h, w = heat.shape
    y, x = divmod(int(heat.argmax()), w)
    logs = np.log(np.clip(gaussian_filter(heat, 0.8, radius=5), 1e-3, 50))

    def at(j: int, i: int) -> float:
        return float(logs[min(max(y + j, 0), h - 1), min(max(x + i, 0), w - 1)])

    slope = np.array([at(0, 1) - at(0, -1), at(1, 0) - at(-1, 0)]) / 2
    xy = (at(1, 1) - at(0, 1) - at(1, 0) + 2 * at(0, 0) - at(0, -1) - at(-1, 0) + at(-1, -1)) / 2
    curve = [[at(0, 1) - 2 * at(0, 0) + at(0, -1), xy], [xy, at(1, 0) - 2 * at(0, 0) + at(-1, 0)]]
    step = -np.linalg.solve(curve, slope)
    step = step if np.abs(step).max() <= 1.5 else np.zeros(2)
    return x + step[0], y + step[1]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
def test_joints_are_a_loop_over_points(noise) -> None:
    heat, _ = heatmaps(1, 2, noise)
    found, _ = joints(heat)
    expected = [[refined(one.astype(np.float64)) for one in person] for person in heat.numpy()]
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def test_flat_and_small_heatmaps_have_joints() -> None:
    found, scores = joints(torch.zeros(1, 17, 4, 3))
    assert torch.equal(found, torch.zeros(1, 17, 2))
    assert torch.equal(scores, torch.zeros(1, 17))
    one = torch.zeros(1, 1, 4, 3)
    one[0, 0, 1, 1] = 1.0
    assert torch.allclose(joints(one)[0], torch.ones(1, 1, 2), atol=0.2)


def test_estimates_do_not_depend_on_the_batch(vitpose) -> None:
    find = PoseEstimator.from_pretrained(str(vitpose))
    pictures, boxes = [picture()] * 3, BOXES
    together = find(pictures, boxes)
    assert together.shape == (3, 17, 3)
    assert together.dtype == np.float32
    assert ((together[..., 2] >= 0) & (together[..., 2] <= 1)).all()
    find.batch_size = 1
    np.testing.assert_allclose(find(pictures, boxes), together, atol=1e-3)
    assert find([], BOXES[:0]).shape == (0, 17, 3)


def test_of_a_mixture_the_expert_of_coco_is_asked(vitpose_plus, monkeypatch) -> None:
    find = PoseEstimator.from_pretrained(str(vitpose_plus))
    asked = find([picture()], BOXES[:1])
    middle, size = widened(torch.from_numpy(BOXES[:1]), 0.75)
    crop = find.preparation.normalised(warp(picture(), middle[0], size[0], 64, 48)[None])
    with torch.inference_mode():
        heat = [find.model(crop, dataset_index=torch.tensor([number])).heatmaps for number in (0, 3)]
    assert not torch.allclose(heat[0], heat[1])
    torch.testing.assert_close(torch.from_numpy(asked[0, :, 2]), joints(heat[0])[1][0].clamp(0, 1))
    monkeypatch.setattr(pose, "COCO", 3)
    assert not np.allclose(find([picture()], BOXES[:1]), asked)


def test_other_networks_are_refused(two_people, vitpose, tmp_path) -> None:
    with pytest.raises(ValueError, match="is no ViTPose that transformers can load: it is a yolos"):
        PoseEstimator.from_pretrained(str(two_people))
    find = PoseEstimator.from_pretrained(str(vitpose))
    find.model.config.id2label = dict.fromkeys(range(133), "joint")
    with pytest.raises(ValueError, match=r"finds 133 joints; keypoints are written as coco_17, which has 17"):
        PoseEstimator(find.model, find.preparation)
