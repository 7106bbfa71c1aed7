"""Detectors of people: pictures as transformers' own processors prepare them, and their answers."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

from microgesture.people.detection import People, PersonDetector, area, overlap
from microgesture.people.weights import Preparation, checkpoint_folder


def picture(height: int = 90, width: int = 160, seed: int = 0) -> torch.Tensor:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), dtype=np.uint8)
    return torch.from_numpy(np.kron(coarse, np.ones((10, 10, 1), np.uint8)))


@pytest.mark.parametrize(
    ("theirs", "said", "multiple"),
    [
        (RTDetrImageProcessorPil, {"size": {"height": 48, "width": 64}, "do_normalize": False}, 1),
        (DetrImageProcessorPil, {"size": {"shortest_edge": 60, "longest_edge": 100}}, 1),
        (YolosImageProcessorPil, {"size": {"shortest_edge": 60, "longest_edge": 100}}, 16),
    ],
)
@pytest.mark.parametrize("shape", [(90, 160), (160, 90)])
def test_pictures_are_prepared_as_by_the_processors_of_transformers(tmp_path, theirs, said, multiple, shape) -> None:
    processor = theirs(**said)
    processor.save_pretrained(tmp_path)
    given = picture(*shape)
    expected = processor(given.numpy(), return_tensors="pt")["pixel_values"]
    preparation = Preparation.read(tmp_path)
    ours = preparation.normalised(preparation.resized(given, multiple)[None])
    assert ours.shape == expected.shape
    torch.testing.assert_close(ours, expected, atol=1.01 / 255 / min(preparation.std), rtol=0)  # Pillow rounds twice


def test_files_of_old_and_new_say_the_same(tmp_path) -> None:
    said = {"size": 60, "max_size": 100, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    old = Preparation.read(tmp_path)
    new = said | {"size": {"shortest_edge": 60, "longest_edge": 100, "height": None}}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": new}))
    assert Preparation.read(tmp_path) == old
    assert old.size == {"shortest_edge": 60, "longest_edge": 100}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": new | {"resample": 0}}))
    with pytest.raises(ValueError, match="only a height and width, or a shortest edge, and bilinear"):
        Preparation.read(tmp_path)
    (tmp_path / "processor_config.json").write_text("{")
    with pytest.raises(ValueError, match="does not say how pictures are prepared"):
        Preparation.read(tmp_path)


@pytest.mark.parametrize("kind", ["rt_detr", "two_people"])
def test_answers_are_those_of_transformers(kind, request) -> None:
    folder = request.getfixturevalue(kind)
    least = 0.7 if kind == "rt_detr" else 0.5
    find = PersonDetector.from_pretrained(str(folder), min_score=least)
    pictures = [picture(seed=seed) for seed in range(2)]
    small = [find.preparation.resized(p, 16 if kind == "two_people" else 1) for p in pictures]
    with torch.inference_mode():
        out = find.model(pixel_values=find.preparation.normalised(torch.stack(small)))
    theirs = RTDetrImageProcessorPil() if kind == "rt_detr" else YolosImageProcessorPil()
    expected = theirs.post_process_object_detection(out, threshold=least, target_sizes=[(90, 160)] * 2)
    found = find(pictures)
    for people, answer in zip(found, expected, strict=True):
        persons = answer["boxes"][answer["labels"] == 0].numpy().clip(0, [160, 90, 160, 90])
        assert len(people.boxes) > 1
        assert np.abs(people.boxes[:, None] - persons[None]).max(-1).min(1).max() < 1e-3
        for box in persons:  # each is there, or is a second box of somebody
            assert overlap(box[None].astype(np.float32), people.boxes).max() > 0.8
        assert (np.diff(people.scores) <= 0).all()


def test_the_two_people_are_where_they_are_and_once(two_people) -> None:
    (people,) = PersonDetector.from_pretrained(str(two_people))([picture()])
    order = np.argsort(people.boxes[:, 0])
    np.testing.assert_allclose(people.boxes[order], [[16, 9, 64, 81], [96, 4.5, 144, 85.5]], atol=0.05)
    assert (people.scores > 0.99).all()
    assert area(people.boxes)[order[1]] == pytest.approx(48 * 81, rel=1e-3)


def test_nobody_is_an_answer(two_people) -> None:
    (people,) = PersonDetector.from_pretrained(str(two_people), min_score=0.9999)([picture()])
    assert isinstance(people, People)
    assert people.boxes.shape == (0, 4)
    assert overlap(people.boxes, np.ones((3, 4), np.float32)).shape == (0, 3)


def test_what_is_no_detector_of_people_is_refused(two_people, vitpose, tmp_path) -> None:
    shutil.copytree(two_people, tmp_path / "d")
    config = json.loads((two_people / "config.json").read_text())
    config |= {"id2label": {"0": "cat", "1": "dog", "2": "car"}, "label2id": {"cat": 0, "dog": 1, "car": 2}}
    (tmp_path / "d" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"no class `person` \(it knows cat, dog, car"):
        PersonDetector.from_pretrained(str(tmp_path / "d"))
    with pytest.raises(ValueError, match="is no detector that transformers can load"):
        PersonDetector.from_pretrained(str(vitpose))
    weights = tmp_path / "d" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="is no detector that transformers can load"):
        PersonDetector.from_pretrained(str(tmp_path / "d"))
    weights.write_bytes(whole)
    weights.rename(tmp_path / "d" / "pytorch_model.bin")
    with pytest.raises(FileNotFoundError, match=r"lacks model\.safetensors; give the folder of a whole checkpoint"):
        PersonDetector.from_pretrained(str(tmp_path / "d"))
    with pytest.raises(FileNotFoundError, match=r"the folder \./nowhere does not exist"):
        checkpoint_folder("./nowhere")


def test_code_of_others_is_never_run(two_people, tmp_path) -> None:
    folder = tmp_path / "remote"
    shutil.copytree(two_people, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.C", "AutoModelForObjectDetection": "mine.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ValueError, match="is no detector that transformers can load"):
        PersonDetector.from_pretrained(str(folder))
    assert not (tmp_path / "ran").exists()


def hub_cache(cache: Path, name: str, source: Path) -> None:
    """Puts a checkpoint where the Hub's client looks for what it fetched before."""
    repo, commit = cache / f"models--{name.replace('/', '--')}", "0" * 40
    shutil.copytree(source, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)


def test_a_name_on_the_hub_is_read_without_the_network_once_it_is_here(two_people, tmp_path, monkeypatch) -> None:
    import huggingface_hub

    def refuse(*_, **__):
        raise AssertionError("a network call")

    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        "microgesture.people.weights.snapshot_download", lambda *a, **k: real(*a, cache_dir=tmp_path / "hub", **k)
    )
    hub_cache(tmp_path / "hub", "some/detector", two_people)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert len(PersonDetector.from_pretrained("some/detector")([picture()])[0].boxes) == 2
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="cannot get no/where from the Hub: check the name and the connection"):
        checkpoint_folder("no/where")
