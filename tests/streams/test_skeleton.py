"""The skeleton stream: what the processor makes of keypoints, what the networks see, and a checkpoint elsewhere."""

from __future__ import annotations

import pytest
import torch

from microgesture.data.keypoints import LAYOUTS, Layout, read_layout
from microgesture.streams.skeleton.configuration_skeleton import SkeletonConfig
from microgesture.streams.skeleton.modeling_skeleton import (
    DecoupledBlock,
    JointMixing,
    SkeletonForVideoClassification,
    bone_graphs,
)
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor

NETWORKS = ("decoupled", "graph")


def tables(layout: Layout) -> dict[str, list]:
    return {"joints": list(layout.names), "bones": [list(bone) for bone in layout.bones]}


def processor(name: str = "coco_17", **settings) -> SkeletonProcessor:
    layout = read_layout(name)
    settings = {"dimensions": 2 if layout.unit == "pixels" else 3, "num_frames": 8} | settings
    return SkeletonProcessor(**tables(layout), **settings)


def network(name: str = "coco_17", seed: int = 0, **fields) -> SkeletonForVideoClassification:
    layout = read_layout(name)
    fields = {"widths": [8, 8, 16], "joint_groups": 4, "temporal_kernel": 3, "dropout": 0.0} | fields
    pairs = [list(pair) for pair in layout.pairs]
    torch.manual_seed(seed)
    dimensions = 2 if layout.unit == "pixels" else 3
    config = SkeletonConfig(
        layout=name, **tables(layout), pairs=pairs, dimensions=dimensions, id2label={0: "a", 1: "b", 2: "c"}, **fields
    )
    return SkeletonForVideoClassification(config).eval()


def person(T: int, J: int = 17, D: int = 2, seed: int = 0, size: float = 100.0) -> torch.Tensor:
    """A body that moves smoothly, `(T, J, D)`."""
    generator = torch.Generator().manual_seed(seed)
    start, speed = (torch.randn(1, J, D, generator=generator) for _ in range(2))
    return 500 + size * (start + 0.3 * speed * torch.linspace(0, 1, T)[:, None, None])


# ---- processor ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_goes_through_processor_and_both_networks(name: str) -> None:
    layout = read_layout(name)
    D = 2 if layout.unit == "pixels" else 3
    ready = processor(name)([person(n, len(layout.names), D, n) for n in (5, 40)])["keypoints"]
    assert ready.shape == (2, 1, 8, len(layout.names), D + 1)
    assert bool((ready[..., D] == 1).all())
    for kind in NETWORKS:
        assert network(name, network=kind)(ready).logits.shape == (2, 3)


def test_place_and_size_of_a_body_in_the_picture_do_not_matter() -> None:
    here = person(20)
    there = (here - 500) * 0.4 + torch.tensor([30.0, 900.0])
    ready = processor()([here, there])["keypoints"]
    torch.testing.assert_close(ready[0], ready[1], rtol=1e-4, atol=1e-4)
    longer = processor().normalize(here)[0, :, :, :2]
    hips = longer[:, [11, 12]].mean(1)
    assert float(hips.median(0).values.abs().max()) < 1e-5
    assert float((longer[0] - hips[0]).abs().max()) < 20  # in body sizes, not pixels


@pytest.mark.parametrize("scale", [1e-25, 1e-6, 1e6, 1e25])
def test_the_unit_of_the_points_does_not_matter(scale: float) -> None:
    ready = processor().normalize(person(9))
    torch.testing.assert_close(processor().normalize(person(9) * scale), ready, rtol=1e-4, atol=1e-4)
    head = torch.cat([person(9)[:, :5], torch.zeros(9, 12, 2)], 1)  # whose size is the spread of its points
    torch.testing.assert_close(processor().normalize(head * scale), processor().normalize(head), rtol=1e-4, atol=1e-4)


def test_walking_stays_visible() -> None:
    walking = person(20) + torch.linspace(0, 300, 20)[:, None, None]
    hips = processor().normalize(walking)[0, :, [11, 12], 0].mean(1)
    assert float(hips[-1] - hips[0]) > 1


def test_points_that_are_not_seen_lie_between_their_neighbours_in_time() -> None:
    whole = torch.cat([person(9), torch.ones(9, 17, 1)], -1)
    gaps = whole.clone()
    gaps[3:6, 15] = 0  # as OpenPose writes it
    gaps[4, 2, 0] = torch.nan
    gaps[6, 1, 2] = torch.nan
    gaps[0, 16, 2] = 0.05  # below min_confidence; its first frame gets the place of the next
    ready, expected = processor().normalize(gaps)[0], processor().normalize(whole)[0]
    torch.testing.assert_close(ready[1:, :, :2], expected[1:, :, :2], rtol=1e-4, atol=1e-4)  # it moves evenly
    torch.testing.assert_close(ready[0, 16, :2], ready[1, 16, :2])
    assert ready[3:6, 15, 2].tolist() == [0, 0, 0]
    assert float(ready[4, 2, 2]) == float(ready[6, 1, 2]) == float(ready[0, 16, 2]) == 0
    assert float(ready[..., 2].sum()) == 9 * 17 - 6


def test_a_joint_that_is_never_seen_stands_in_the_centre_and_nobody_at_all_is_nothing() -> None:
    clip = torch.cat([person(9), torch.ones(9, 17, 1)], -1)
    clip[:, 3] = torch.nan
    ready = processor().normalize(clip)
    assert bool((ready[0, :, 3] == 0).all())
    assert bool(ready.isfinite().all())
    nobody = processor()([torch.zeros(9, 17, 3), clip])["keypoints"]
    assert bool((nobody[0] == 0).all())
    logits = network()(nobody).logits
    assert bool(logits.isfinite().all())


def test_a_person_whose_measured_bones_are_hidden_has_a_size_all_the_same() -> None:
    clip = torch.cat([person(9), torch.ones(9, 17, 1)], -1)
    clip[:, 5:] = 0  # the head only
    ready = processor().normalize(clip)[0, :, :5, :2]
    assert 0.1 < float(ready.square().sum(-1).mean().sqrt()) < 10


def test_resampling_is_linear_and_keeps_first_and_last() -> None:
    line = torch.arange(5.0).view(1, 5, 1, 1)
    seven = processor(num_frames=9).resample(line).flatten()
    torch.testing.assert_close(seven, torch.linspace(0, 4, 9))
    torch.testing.assert_close(processor(num_frames=3).resample(line, 0.25, 0.75).flatten(), torch.tensor([1.0, 2, 3]))
    assert processor(num_frames=4).resample(line[:, :1]).flatten().tolist() == [0] * 4


def test_settings_are_kept(tmp_path) -> None:
    first = processor("openpose_68", num_frames=12, min_confidence=0.3)
    first.save_pretrained(tmp_path)
    again = SkeletonProcessor.from_pretrained(tmp_path)
    for name in ("joints", "bones", "dimensions", "num_frames", "min_confidence", "center"):
        assert getattr(again, name) == getattr(first, name)
    assert [again.joints[joint] for joint in again.center] == ["neck"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: processor()(torch.zeros(5, 16, 2)), "17 joints, 2 or 3 numbers"),
        (lambda: processor()(torch.zeros(3, 5, 17, 2)), "hold 3 people; at most 2"),
        (lambda: processor()(torch.zeros(0, 17, 2)), "17 joints"),
        (lambda: processor()([]), "is an empty list"),
        (lambda: processor(num_frames=0), "num_frames must be"),
        (lambda: processor(dimensions=4), "2 or 3 coordinates"),
        (lambda: processor(min_confidence=2), "min_confidence is 2"),
        (lambda: processor(center=[17]), r"center is \[17\]"),
        (lambda: network()(torch.zeros(1, 4, 16, 3)), "17 joints of coco_17"),
        (lambda: network(inputs=["joints"]), r"inputs is \['joints'\]"),
        (lambda: network(network="gcn"), "network is 'gcn'"),
        (lambda: network(widths=[6]), "multiples of joint_groups"),
        (lambda: network(temporal_kernel=4), "odd number"),
        (lambda: network(root=17), "root is 17"),
        (lambda: SkeletonConfig(joints=["a", "b"], bones=[[0, 2]]), "bones must be pairs of places"),
        (lambda: network(category_texts=["one"]), "1 sentences for 3 classes"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_a_setting_that_does_not_exist_is_named() -> None:
    with pytest.raises(TypeError, match="no setting frames"):
        processor(frames=3)


# ---- tables and networks -----------------------------------------------------------------------------------------


def test_parents_lead_to_the_root_by_the_fewest_bones() -> None:
    config = network("kinect_20").config
    names = config.joints
    parents, distances = config.tree()
    assert names[config.root] == "shoulder_center"
    assert names[parents[names.index("left_hand")]] == "left_wrist"
    assert names[parents[names.index("left_hip")]] == "hip_center"
    assert distances[names.index("left_hand")] == 4
    assert parents[config.root] == config.root
    lonely = SkeletonConfig(joints=["a", "b", "c"], bones=[[0, 1]])
    assert lonely.tree() == ([0, 0, 2], [0, 1, 0])


def test_the_graphs_are_the_bones() -> None:
    config = network("kinect_20").config
    self_, inward, outward = bone_graphs(config)
    parents, _ = config.tree()
    assert torch.equal(self_, torch.eye(20))
    for joint in range(20):
        if joint != config.root:
            assert float(inward[parents[joint], joint]) == 1  # its one neighbour towards the root
    assert int((inward > 0).sum()) == int((outward > 0).sum()) == 19
    torch.testing.assert_close(outward.sum(0)[outward.sum(0) > 0], torch.ones(15))  # all but the five ends


def test_joints_are_mixed_by_the_matrix_of_their_group() -> None:
    mixing = JointMixing(4, 3, 2)
    x = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(mixing(x), x)
    with torch.no_grad():
        mixing.mix.copy_(torch.randn(2, 3, 3))
    expected = torch.stack([x[:, c] @ mixing.mix[c // 2] for c in range(4)], 1)
    torch.testing.assert_close(mixing(x), expected)


@pytest.mark.parametrize(("width_in", "width"), [(8, 8), (8, 16)])
def test_a_decoupled_block_mixes_joints_within_frames_then_frames_within_joints(width_in: int, width: int) -> None:
    block = DecoupledBlock(network().config, width_in, width).eval()
    with torch.no_grad():
        block.spatial[1].mix.normal_()
    x = torch.randn(1, width_in, 6, 17)
    changed = x.clone()
    changed[:, :, 3, 5] += 1
    frames, joints = (block.spatial(x) != block.spatial(changed)).any(1)[0].nonzero(as_tuple=True)
    assert set(frames.tolist()) == {3}
    assert set(joints.tolist()) == set(range(17))
    inner = torch.randn(1, width, 6, 17)
    other = inner.clone()
    other[:, :, 3, 5] += 1
    frames, joints = (block.temporal(inner) != block.temporal(other)).any(1)[0].nonzero(as_tuple=True)
    assert set(joints.tolist()) == {5}
    assert set(frames.tolist()) == ({2, 3, 4} if width == width_in else {1, 2})  # a step of two sees 1-3 and 3-5


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_second_person_who_is_not_there_changes_nothing(kind: str) -> None:
    model = network(network=kind)
    alone = processor()([person(9)])["keypoints"]
    beside = torch.cat([alone, torch.zeros_like(alone)], 1)
    for absent in (beside, beside.flip(1)):  # also where the empty place is the first
        torch.testing.assert_close(model(alone).logits, model(absent).logits)
    torch.testing.assert_close(model(alone).logits, model(alone[:, 0]).logits)
    both = processor()(torch.stack([person(9), person(9, seed=1)]))["keypoints"]
    swapped = both.flip(1)
    torch.testing.assert_close(model(both).logits, model(swapped).logits)
    assert not torch.allclose(model(both).logits, model(both[:, :1]).logits)


@pytest.mark.parametrize("kind", NETWORKS)
def test_any_length_goes_through(kind: str) -> None:
    model = network(network=kind)
    for T in (1, 2, 7, 65):
        assert model(torch.randn(2, T, 17, 3)).logits.shape == (2, 3)


@pytest.mark.parametrize("name", ["joint", "bone", "joint_motion", "bone_motion"])
def test_inputs_are_places_bones_and_their_changes_to_the_next_frame(name: str) -> None:
    model, points, given = network(inputs=[name]), torch.randn(2, 4, 17, 3), []
    model.input_norm.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]))
    model.read(points)
    expected, parents = points[..., :2], model.config.tree()[0]
    if name.startswith("bone"):
        expected = torch.stack([expected[:, :, j] - expected[:, :, parents[j]] for j in range(17)], 2)
    if name.endswith("motion"):
        expected = torch.cat([expected[:, 1:] - expected[:, :-1], torch.zeros(2, 1, 17, 2)], 1)
    found = given[0].view(2, 3, 17, 4).permute(0, 3, 2, 1)
    torch.testing.assert_close(found, torch.cat([expected, points[..., 2:]], -1))


@pytest.mark.parametrize("name", ["joint", "bone", "joint_motion", "bone_motion"])
def test_what_each_input_sees(name: str) -> None:
    """Motion does not see where a body stands, bones do not see where it is."""
    model = network(inputs=[name])
    still = processor()([person(9)])["keypoints"]
    moved = still.clone()
    moved[..., :2] += 3.0
    same = torch.allclose(model(still).logits, model(moved).logits, atol=1e-5)
    assert same == (name != "joint")
    backwards = still.flip(2)
    assert not torch.allclose(model(still).logits, model(backwards).logits, atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_parameter_gets_a_gradient(kind: str) -> None:
    model = network(network=kind, semantic_dim=5).train()
    out = model(processor()([person(9, seed=n) for n in range(4)])["keypoints"], labels=torch.tensor([0, 1, 2, 0]))
    (out.loss + out.semantic_embeds.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []
