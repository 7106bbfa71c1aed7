"""TSM: the shift as a loop, the published network, and weights of an image classifier."""

from __future__ import annotations

import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ResNetModel

from microgesture.baselines.tsm import (
    RESNET_FIELDS,
    ShiftedBranch,
    TSMConfig,
    TSMForVideoClassification,
    temporal_shift,
)

TINY = {"embedding_size": 8, "hidden_sizes": [16, 32], "depths": [1, 2], "layer_type": "basic"}


def test_the_shift_is_a_loop_over_clips_frames_and_channels() -> None:
    B, T, N = 2, 5, 16
    x = torch.randn(B * T, N, 2, 3)
    expected = torch.zeros_like(x)
    for clip in range(B):
        for t in range(T):
            for n in range(N):
                source = t + 1 if n < 2 else t - 1 if n < 4 else t  # an eighth from the next frame, one from the last
                if 0 <= source < T:
                    expected[clip * T + t, n] = x[clip * T + source, n]
    assert torch.equal(temporal_shift(x, T, 1 / 8), expected)
    assert torch.equal(temporal_shift(x, T, 0), x)


def test_tsm_r50_is_the_published_network() -> None:
    """24.3 M parameters with 400 classes (Lin et al., Table 2); a shift has none (docs/paper.md)."""
    with torch.device("meta"):
        model = TSMForVideoClassification(TSMConfig(num_labels=400))
        resnet = ResNetModel(ResNetConfig())
    count = sum(p.numel() for p in model.parameters())
    assert count == 24_327_632
    assert round(count / 1e6, 1) == 24.3
    assert count - sum(p.numel() for p in resnet.parameters()) == 2048 * 400 + 400
    shapes = []
    for stage in model.resnet.encoder.stages:
        stage.register_forward_hook(lambda module, inputs, out: shapes.append(tuple(out.shape)))
    out = model(torch.zeros(2, 8, 3, 224, 224, device="meta"))
    assert shapes == [(16, 256, 56, 56), (16, 512, 28, 28), (16, 1024, 14, 14), (16, 2048, 7, 7)]
    assert out.logits.shape == (2, 400)
    assert sum(isinstance(module, ShiftedBranch) for module in model.modules()) == 16  # every block


def test_the_skip_sees_frames_as_they_are() -> None:
    torch.manual_seed(0)
    model = TSMForVideoClassification(TSMConfig(**TINY, num_frames=4)).eval()
    block, plain = (m.encoder.stages[1].layers[1] for m in (model.resnet, ResNetModel(model.resnet.config).eval()))
    plain.load_state_dict(block.state_dict())
    x = torch.randn(8, 32, 5, 5)
    with torch.no_grad():
        expected = torch.relu(x + plain.layer(temporal_shift(x, 4, 1 / 8)))
        torch.testing.assert_close(block(x), expected)
        assert not torch.allclose(plain(x), expected)


def test_frames_of_one_clip_do_not_reach_another_and_their_order_counts() -> None:
    torch.manual_seed(0)
    model = TSMForVideoClassification(TSMConfig(**TINY, num_frames=4, num_labels=3, semantic_dim=5)).eval()
    clips = torch.randn(2, 4, 3, 24, 20)
    with torch.no_grad():
        both, first = model(clips, labels=torch.tensor([0, 2])), model(clips[:1])
        torch.testing.assert_close(both.logits[:1], first.logits, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(model(clips.flip(1)).logits, both.logits, atol=1e-4)
    assert both.semantic_embeds.shape == (2, 5)
    assert both.loss.shape == ()
    with pytest.raises(ValueError, match=r"must be \(clips, 4 frames, 3 colours"):
        model(clips[:, :3])


def test_without_a_shift_it_is_the_resnet_on_each_frame(tmp_path) -> None:
    torch.manual_seed(0)
    images = ResNetForImageClassification(ResNetConfig(**TINY, num_labels=7)).eval()
    images.save_pretrained(tmp_path)
    model = TSMForVideoClassification(TSMConfig(**TINY, num_frames=4, shift_fraction=0.0)).eval()
    assert set(RESNET_FIELDS) >= set(TINY)
    model.resnet.load_state_dict(ResNetModel.from_pretrained(tmp_path).state_dict())
    clip = torch.randn(1, 4, 3, 16, 16)
    with torch.no_grad():
        expected = images.resnet(clip[0]).pooler_output.flatten(1).mean(0)
        torch.testing.assert_close(model(clip).pooled[0], expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shift_fraction": 0.6}, "shift_fraction is 0.6"),
        ({"depths": [1]}, r"and depths \[1\] need one number"),
        ({"num_frames": 0}, "num_frames 0"),
        ({"num_labels": 2, "category_texts": ["one"]}, "1 sentences for 2 classes"),
    ],
)
def test_configurations_that_cannot_be(fields, message) -> None:
    with pytest.raises(ValueError, match=message):
        TSMConfig(**fields)
