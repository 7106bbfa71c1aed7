"""MS-G3D: its graphs against their definition, its layers against plain loops, its size against the paper's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from microgesture.baselines.ms_g3d import (
    G3D,
    MSG3DConfig,
    MSG3DForVideoClassification,
    MultiScaleGraph,
    MultiScaleTemporal,
    bone_distances,
    scale_graphs,
)
from microgesture.data.keypoints import read_layout
from microgesture.hub.checkpoint import same_answers, whole_checkpoint
from microgesture.hub.load_back import compare, model_answers
from microgesture.streams.skeleton.processing_skeleton import SkeletonProcessor

SMALL = {"widths": [6, 12], "scales": 3, "window_scales": 2}


def network(layout: str = "coco_17", classes: int = 3, **fields) -> MSG3DForVideoClassification:
    found = read_layout(layout)
    config = MSG3DConfig(
        layout=layout,
        joints=list(found.names),
        bones=[list(bone) for bone in found.bones],
        dimensions=2 if found.unit == "pixels" else 3,
        id2label={number: str(number) for number in range(classes)},
        **fields,
    )
    torch.manual_seed(0)
    return MSG3DForVideoClassification(config).eval()


def clips(B: int = 2, M: int = 1, T: int = 9, J: int = 17, D: int = 2) -> torch.Tensor:
    points = torch.randn(B, M, T, J, D + 1, generator=torch.Generator().manual_seed(1))
    points[..., D] = 1
    return points


def test_the_size_is_the_published_one_and_features_have_the_published_shape() -> None:
    """3.2 M parameters for one network on NTU RGB+D: 25 joints, 60 classes; 384 channels, a quarter of the frames."""
    model = network("kinect_25", classes=60)
    count = sum(parameter.numel() for parameter in model.parameters())
    # The authors normalise the input of each of two people by itself, here both are alike: 2 · 3 · 25 numbers less.
    assert count + 150 == 3_194_595
    assert round(count / 1e6, 1) == 3.2
    out = model(clips(1, T=16, J=25, D=3))
    assert (out.logits.shape, out.pooled.shape) == ((1, 60), (1, 384))
    assert model.blocks(model.read(clips(1, T=16, J=25, D=3)[:, 0])).shape == (1, 384, 4, 25)


def test_at_each_scale_a_joint_reads_itself_and_those_exactly_so_many_bones_away() -> None:
    layout = read_layout("kinect_20")
    bones = [list(bone) for bone in layout.bones]
    distances = bone_distances(20, bones)
    near = {joint: {b for a, b in [*bones, *[bone[::-1] for bone in bones]] if a == joint} for joint in range(20)}
    for start in range(20):
        shell, before = {start}, set()
        for k in range(5):
            assert {joint for joint in range(20) if distances[start, joint] == k} == shell
            before |= shell
            shell = {b for a in shell for b in near[a]} - before
    for k, graph in enumerate(scale_graphs(distances, 4)):
        read = ((distances == k) | torch.eye(20, dtype=torch.bool)).numpy()
        degree = read.sum(1)
        np.testing.assert_allclose(graph.numpy(), read / np.sqrt(np.outer(degree, degree)), rtol=1e-6)
    assert bone_distances(3, [[0, 1]])[2].tolist() == [torch.inf, torch.inf, 0]


def test_in_a_window_a_joint_is_joined_to_itself_and_its_neighbours_in_every_frame() -> None:
    """Three joints in a row, two frames; nodes 0, 1, 2 and 3, 4, 5 (eq. 5: the graph with self-loops, tiled)."""
    graphs = scale_graphs(bone_distances(3, [[0, 1], [1, 2]]), 3, window=2)
    assert [node for node in range(6) if graphs[0, 0, node]] == [0]
    assert [node for node in range(6) if graphs[1, 0, node]] == [0, 1, 3, 4]
    assert [node for node in range(6) if graphs[2, 0, node]] == [0, 2, 5]
    assert [node for node in range(6) if graphs[1, 1, node]] == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(graphs[1, 0, 1], torch.tensor((4 * 6) ** -0.5))


def test_a_graph_convolution_is_the_formula() -> None:
    graphs = scale_graphs(bone_distances(4, [[0, 1], [1, 2], [2, 3]]), 3)
    layer = MultiScaleGraph(2, 5, graphs).eval()
    torch.nn.init.normal_(layer.added)
    x = torch.randn(2, 2, 6, 4)
    weight, bias = layer.project[0].weight[..., 0, 0], layer.project[0].bias
    expected = bias.view(1, -1, 1, 1).repeat(2, 1, 6, 4)
    for k in range(3):
        for v in range(4):
            for u in range(4):
                part = weight[:, 2 * k : 2 * k + 2] @ x[..., u].flatten(2)  # (N, C', T)
                expected[..., v] += (graphs[k, v, u] + layer.added[k, v, u]) * part
    torch.testing.assert_close(layer(x), F.relu(layer.project[1](expected)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_window_mixes_the_frames_around_its_middle(stride: int) -> None:
    J, W = 3, 3
    graphs = scale_graphs(bone_distances(J, [[0, 1], [1, 2]]), 2, W)
    layer = G3D(2, 4, 5, graphs, W, stride).eval()
    x = torch.randn(1, 2, 7, J)
    found = layer(x)
    padded = F.pad(x, (0, 0, 1, 1))
    for place, middle in enumerate(range(0, 7, stride)):
        window = padded[:, :, middle : middle + W].flatten(2)[:, :, None]  # (N, C, 1, W · J), frame by frame
        mixed = layer.graph(window).unflatten(3, (W, J))[:, :, 0]  # (N, 4, W, J)
        weight, bias = layer.collapse[0].weight[..., 0, 0].view(5, 4, W), layer.collapse[0].bias
        whole = torch.einsum("ocw,ncwj->noj", weight, mixed) + bias.view(1, -1, 1)
        torch.testing.assert_close(found[:, :, place], layer.collapse[1](whole[:, :, None])[:, :, 0])
    assert found.shape[2] == -(-7 // stride)


def test_time_is_seen_as_far_as_the_dilations_reach_and_joints_stay_apart() -> None:
    torch.manual_seed(0)
    layer = MultiScaleTemporal(24, 24, activate=False).eval()
    x = torch.randn(1, 24, 15, 2)
    changed = x.clone()
    changed[:, :, 7, 0] += 5
    differs = (layer(x) != layer(changed)).any(1)[0]  # (T, J)
    assert not bool(differs[:, 1].any())
    assert differs[:, 0].nonzero().flatten().tolist() == list(range(3, 12))  # the widest branch: 4 frames each way
    assert bool((MultiScaleTemporal(24, 24).eval()(x) >= 0).all())


def test_a_second_person_who_is_not_there_changes_nothing() -> None:
    model = network(**SMALL)
    alone = clips()
    beside = torch.cat([alone, torch.zeros_like(alone)], 1)
    for absent in (beside, beside.flip(1)):  # also where the empty place is the first
        torch.testing.assert_close(model(alone).logits, model(absent).logits)
    torch.testing.assert_close(model(alone).logits, model(alone[:, 0]).logits)
    both = clips(M=2)
    torch.testing.assert_close(model(both).logits, model(both.flip(1)).logits)
    assert not torch.allclose(model(both).logits, model(both[:, :1]).logits)


def test_any_length_goes_through() -> None:
    model = network(**SMALL)
    for T in (1, 2, 7, 65):
        assert model(clips(T=T)).logits.shape == (2, 3)


def test_bones_do_not_see_where_a_body_is_and_joints_do() -> None:
    still = clips()
    moved = still.clone()
    moved[..., :2] += 3.0
    for inputs, same in (("bone", True), ("joint", False)):
        model = network(inputs=inputs, **SMALL)
        assert torch.allclose(model(still).logits, model(moved).logits, atol=1e-4) == same
    names = model.config.joints
    assert model.parents[names.index("left_wrist")] == names.index("left_elbow")


def test_of_a_picture_the_confidence_is_read_and_of_space_it_is_not() -> None:
    for layout, D, same in (("coco_17", 2, False), ("kinect_20", 3, True)):
        model, points = network(layout, **SMALL), clips(J=len(read_layout(layout).names), D=D)
        less = points.clone()
        less[..., D] = 0.5
        assert torch.allclose(model(points).logits, model(less).logits) == same


def test_every_parameter_gets_a_gradient_and_first_weights_are_near_the_graphs() -> None:
    model = network(semantic_dim=5, **SMALL).train()
    assert (
        0
        < max(float(p.detach().abs().max()) for name, p in model.named_parameters() if name.endswith("added"))
        <= 1e-6
    )
    out = model(clips(4), labels=torch.tensor([0, 1, 2, 0]))
    (out.loss + out.semantic_embeds.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.isfinite().all())] == []


def test_saved_and_read_again_it_gives_the_same_answers(tmp_path) -> None:
    model = network(**SMALL)
    torch.nn.init.normal_(model.blocks[0].unified[0].graph.added)
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == {"ms_g3d.py"}
    again = MSG3DForVideoClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(clips()).logits, model(clips()).logits)
    SkeletonProcessor(joints=model.config.joints, bones=model.config.bones).save_pretrained(tmp_path)
    assert {"ms_g3d.py", "processing_skeleton.py"} <= set(whole_checkpoint(tmp_path, "me/ms-g3d").files)
    answers = [model_answers({"model": str(tmp_path)}) for _ in range(2)]
    assert "differ by at most 0" in same_answers(compare(*answers), tmp_path, "the Hub", False)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: network(**SMALL)(torch.zeros(1, 4, 16, 3)), "17 joints of coco_17"),
        (lambda: network(inputs="motion"), "inputs is 'motion'"),
        (lambda: network(widths=[8]), "multiples of 6"),
        (lambda: network(windows=[2]), "odd numbers of frames"),
        (lambda: network(scales=0), "must be 1 or more"),
        (lambda: MSG3DConfig(dimensions=4), "2 or 3 coordinates"),
        (lambda: MSG3DConfig(joints=["a", "b"], bones=[[0, 2]]), "bones must be pairs of places"),
        (lambda: network(category_texts=["one"]), "1 sentences for 3 classes"),
    ],
)
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
