"""The heatmap stream: rendering against a loop over pixels, the box of a clip, the size of the published network."""

from __future__ import annotations

import math

import pytest
import torch

from microgesture.data.keypoints import LAYOUTS, read_layout
from microgesture.streams.heatmap.configuration_heatmap import HeatmapConfig
from microgesture.streams.heatmap.modeling_heatmap import (
    HeatmapForVideoClassification,
    render_joints,
    render_limbs,
)
from microgesture.streams.heatmap.processing_heatmap import HeatmapProcessor


def tables(name: str) -> dict:
    layout = read_layout(name)
    bones = [list(bone) for bone in layout.bones]
    return {"joints": list(layout.names), "bones": bones, "dimensions": 2 if layout.unit == "pixels" else 3}


def processor(name: str = "coco_17", **settings) -> HeatmapProcessor:
    return HeatmapProcessor(**tables(name), **({"num_frames": 6} | settings))


def network(name: str = "coco_17", seed: int = 0, **fields) -> HeatmapForVideoClassification:
    small = {"size": 16, "base_channels": 4, "stage_blocks": [1, 1, 1], "dropout": 0.0}
    torch.manual_seed(seed)
    config = HeatmapConfig(layout=name, **tables(name), id2label={0: "a", 1: "b", 2: "c"}, **(small | fields))
    return HeatmapForVideoClassification(config).eval()


def person(T: int = 9, J: int = 17, D: int = 2, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 300 + 80 * torch.rand(T, J, D, generator=generator)


def loop_joints(points: torch.Tensor, size: int, sigma: float) -> torch.Tensor:
    """The formula, pixel by pixel."""
    T, J, _ = points.shape
    out = torch.zeros(J, T, size, size)
    for t in range(T):
        for j in range(J):
            x, y, sure = points[t, j].tolist()
            for row in range(size):
                for column in range(size):
                    out[j, t, row, column] = sure * math.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))
    return out


def loop_limbs(points: torch.Tensor, bones: list[list[int]], size: int, sigma: float) -> torch.Tensor:
    T = len(points)
    out = torch.zeros(len(bones), T, size, size)
    for t in range(T):
        for n, (start, end) in enumerate(bones):
            (ax, ay, a_sure), (bx, by, b_sure) = points[t, start].tolist(), points[t, end].tolist()
            length = math.hypot(bx - ax, by - ay)
            for row in range(size):
                for column in range(size):
                    # Before one end, beyond the other, or beside the bone.
                    if length < 1e-3 or (column - ax) * (bx - ax) + (row - ay) * (by - ay) <= 0:
                        d = math.hypot(column - ax, row - ay)
                    elif (column - bx) * (ax - bx) + (row - by) * (ay - by) <= 0:
                        d = math.hypot(column - bx, row - by)
                    else:
                        d = abs((bx - ax) * (row - ay) - (by - ay) * (column - ax)) / length
                    out[n, t, row, column] = min(a_sure, b_sure) * math.exp(-(d**2) / (2 * sigma**2))
    return out


def points_in_pixels() -> torch.Tensor:
    points = torch.rand(3, 5, 3, generator=torch.Generator().manual_seed(1))
    points[..., :2] = points[..., :2] * 16 - 2  # some of them outside
    points[0, 1, 2] = 0  # unseen
    points[1, 3] = points[1, 2]  # a bone without length
    return points


@pytest.mark.parametrize("sigma", [0.6, 2.0])
def test_rendering_is_the_formula_at_every_pixel(sigma: float) -> None:
    points, bones = points_in_pixels(), [[0, 1], [1, 2], [2, 3], [3, 4], [4, 0]]
    torch.testing.assert_close(render_joints(points, 12, sigma), loop_joints(points, 12, sigma), rtol=1e-4, atol=1e-5)
    drawn = render_limbs(points, torch.tensor(bones), 12, sigma)
    torch.testing.assert_close(drawn, loop_limbs(points, bones, 12, sigma), rtol=1e-3, atol=1e-5)


def test_batches_and_people_are_rendered_as_each_by_itself() -> None:
    many = torch.stack([points_in_pixels(), points_in_pixels().flip(0)])[:, None]
    bones = torch.tensor([[0, 1], [3, 4]])
    for n in range(2):
        torch.testing.assert_close(render_joints(many, 8, 1.0)[n, 0], render_joints(many[n, 0], 8, 1.0))
        torch.testing.assert_close(render_limbs(many, bones, 8, 1.0)[n, 0], render_limbs(many[n, 0], bones, 8, 1.0))


def test_a_point_shines_where_it_is_and_an_unseen_one_nowhere() -> None:
    model = network(size=20, padding=0.0, sigma=1.0)
    keypoints = torch.zeros(1, 1, 1, 17, 3)
    keypoints[..., 4, :] = torch.tensor([-0.95, 0.45, 0.5])  # left of the box, below its middle
    volume = model.volumes(keypoints)[0]
    assert volume.shape == (17, 1, 20, 20)
    assert float(volume[4].max()) == pytest.approx(0.5)
    assert divmod(int(volume[4, 0].argmax()), 20) == (14, 0)  # row, column
    volume[4] = 0
    assert float(volume.abs().max()) == 0


@pytest.mark.parametrize(("padding", "column"), [(0.0, 27), (0.25, 23)])
def test_the_margin_lies_on_every_side_of_the_box(padding: float, column: int) -> None:
    keypoints = torch.tensor([1.0, 1.0, 1.0]).expand(1, 1, 1, 17, 3)  # the lower right corner of the box
    volume = network(size=28, padding=padding, sigma=1.0).volumes(keypoints)[0, 0, 0]
    assert divmod(int(volume.argmax()), 28) == (column, column)


def test_in_space_up_is_up_and_the_side_view_shows_depth() -> None:
    model = network("kinect_20", size=21, padding=0.0, sigma=1.0, views=["front", "side"])
    keypoints = torch.zeros(1, 1, 1, 20, 4)
    keypoints[..., 0, :] = torch.tensor([0.0, 0.9, -0.6, 1.0])
    front, side = model.volumes(keypoints)[0].split(20)
    assert divmod(int(front[0, 0].argmax()), 21) == (1, 10)
    assert divmod(int(side[0, 0].argmax()), 21) == (1, 4)


def test_two_people_are_drawn_into_one_volume() -> None:
    model = network(parts=["joints", "limbs"])
    both = processor()(torch.stack([person(), person(seed=1)]))["keypoints"]
    drawn = model.volumes(both)
    assert drawn.shape == (1, 17 + len(model.config.bones), 6, 16, 16)
    apart = torch.maximum(model.volumes(both[:, :1]), model.volumes(both[:, 1:]))
    torch.testing.assert_close(drawn, apart)
    beside = torch.cat([both[:, :1], torch.zeros_like(both[:, :1])], 1)
    torch.testing.assert_close(model(beside).logits, model(both[:, 0]).logits)


# ---- processor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_goes_through(name: str) -> None:
    J, D = len(tables(name)["joints"]), tables(name)["dimensions"]
    ready = processor(name)([person(5, J, D), person(30, J, D)])["keypoints"]
    assert ready.shape == (2, 1, 6, J, D + 1)
    logits = network(name, parts=["joints", "limbs"], views=["front", "side"][: D - 1])(ready).logits
    assert logits.shape == (2, 3)


def test_the_box_of_a_clip_is_its_seen_points() -> None:
    clip = torch.cat([person(30), torch.ones(30, 17, 1)], -1)
    clip[3, 2] = torch.tensor([5000.0, 5000.0, 0.01])  # a false point that the detector itself does not believe
    clip[4, 2] = torch.nan
    clip[5, 2] = 0
    ready = processor().normalize(clip)[0]
    assert ready[3:6, 2].abs().max() == 0
    assert float(ready[..., :2].abs().max()) == pytest.approx(1)
    moved = torch.cat([clip[..., :2] * 3 + 70, clip[..., 2:]], -1)
    moved[5, 2] = 0
    torch.testing.assert_close(processor().normalize(moved)[0], ready, rtol=1e-4, atol=1e-4)
    assert bool((processor().normalize(torch.zeros(4, 17, 3)) == 0).all())


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e6, 1e25])
def test_the_unit_of_the_points_does_not_matter(scale: float) -> None:
    expected = processor().normalize(person())
    torch.testing.assert_close(processor().normalize(person() * scale), expected, rtol=1e-4, atol=1e-4)
    alone = torch.zeros(1, 17, 2)
    alone[0, 3] = scale
    assert processor().normalize(alone)[0, 0, 3].tolist() == [0, 0, 1]


def test_resampling_takes_whole_frames() -> None:
    frames = torch.arange(11.0).view(1, 11, 1, 1)
    assert processor(num_frames=6).resample(frames).flatten().tolist() == [0, 2, 4, 6, 8, 10]
    assert processor(num_frames=3).resample(frames, 0.2, 0.6).flatten().tolist() == [2, 4, 6]
    assert processor(num_frames=4).resample(frames[:, :1]).flatten().tolist() == [0] * 4


def test_settings_are_kept(tmp_path) -> None:
    first = processor("openpose_22", num_frames=12, min_confidence=0.3)
    first.save_pretrained(tmp_path)
    again = HeatmapProcessor.from_pretrained(tmp_path)
    for name in ("joints", "bones", "dimensions", "num_frames", "min_confidence"):
        assert getattr(again, name) == getattr(first, name)


# ---- network -----------------------------------------------------------------------------------------------------


def test_the_default_network_has_the_size_of_posec3d() -> None:
    """SlowOnly of Duan et al. (CVPR 2022) with 17 joints: 2.0 M parameters, 512 features for the classifier."""
    with torch.device("meta"):
        model = HeatmapForVideoClassification(
            HeatmapConfig(**tables("coco_17"), id2label=dict.fromkeys(range(60), "x"))
        )
    count = sum(p.numel() for p in model.parameters())
    assert round(count / 1e6, 1) == 2.0
    assert model.classifier.in_features == 512


def test_stages_have_the_shapes_of_slowonly() -> None:
    """Every stage halves height and width, the last one also the frames; there is no pooling after the stem."""
    with torch.device("meta"):
        model = HeatmapForVideoClassification(HeatmapConfig(**tables("coco_17")))
        shapes: list[tuple] = []
        for block in model.blocks:
            block.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape[1:])))
        model.train()(torch.zeros(2, 1, 48, 17, 3))
    stages = [((128, 48, 28, 28), 4), ((256, 48, 14, 14), 6), ((512, 24, 7, 7), 3)]
    assert shapes == [shape for shape, count in stages for _ in range(count)]


@pytest.mark.parametrize(("inflate", "seen"), [([0, 0, 0], {3}), ([0, 1, 0], {2, 3, 4}), ([0, 1, 1], {1, 2, 3, 4, 5})])
def test_inflated_stages_see_three_frames(inflate: list[int], seen: set[int]) -> None:
    model = network(inflate=inflate, temporal_strides=[1, 1, 1], base_channels=8)
    x = torch.randn(1, 8, 7, 16, 16)
    changed = x.clone()
    changed[:, :, 3] += 1
    with torch.no_grad():
        differs = (model.blocks(x) != model.blocks(changed)).any(-1).any(-1).any(1)[0]
    assert set(differs.nonzero().flatten().tolist()) == seen


def test_every_parameter_gets_a_gradient_and_points_get_none() -> None:
    model = network(semantic_dim=5).train()
    keypoints = processor()([person(seed=n) for n in range(3)])["keypoints"].requires_grad_()
    out = model(keypoints, labels=torch.tensor([0, 1, 2]))
    (out.loss + out.semantic_embeds.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
    assert keypoints.grad is None


def test_any_length_goes_through() -> None:
    for T in (1, 2, 13):
        assert network()(torch.rand(2, T, 17, 3)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: processor()(torch.zeros(5, 16, 2)), "17 joints, 2 or 3 numbers"),
        (lambda: processor()(torch.zeros(3, 5, 17, 2)), "hold 3 people; at most 2"),
        (lambda: processor()([]), "is an empty list"),
        (lambda: processor(num_frames=0), "num_frames must be"),
        (lambda: network()(torch.zeros(1, 4, 16, 3)), "17 joints of coco_17"),
        (lambda: network(parts=[]), r"parts is \[\]"),
        (lambda: network(views=["top"]), r"views is \['top'\]"),
        (lambda: network(views=["side"]), "do not have"),
        (lambda: network(sigma=0.0), "sigma 0.0 must be above 0"),
        (lambda: network(stem_kernel=4), "stem_kernel is 4"),
        (lambda: network(inflate=[1]), "one number per stage"),
        (lambda: network(stage_blocks=[1, 0, 1]), "are 1 or more"),
        (lambda: HeatmapConfig(joints=["a"], parts=["limbs"]), "there are no bones"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
