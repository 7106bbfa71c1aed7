"""The command line of `microgesture keypoints`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SOME_FAILED = 3


def add_keypoints(commands: Any, video_reader: Callable[[], Any]) -> None:
    """Adds the command.

    Args:
        commands: The commands of `microgesture`.
        video_reader: Gives the module `video_fgsgl`, when it is needed.
    """
    command = commands.add_parser(
        "keypoints",
        help="find people's joints in a data set or in videos, for streams",
        description="Finds people and their 17 joints (layout coco_17) with two published networks. A data set gets a "
        "keypoint file for each clip, named in its tables; videos become a split of clips without labels. Goes on "
        "where it was stopped. Ends with status 0, with 3 where some videos could not be read, else with 1.",
    )
    command.add_argument("source", nargs="+", metavar="SOURCE", help="a data set folder, or videos and their folders")
    command.add_argument(
        "--out", type=Path, metavar="DIR",
        help="videos: the split to make, e.g. data/own/unlabelled (a data set is added to where it lies)",
    )  # fmt: skip
    command.add_argument(
        "--detector", required=True, metavar="NAME_OR_DIR",
        help="detector of people, e.g. PekingU/rtdetr_r50vd: a name on the Hub, or a folder (safetensors)",
    )  # fmt: skip
    command.add_argument(
        "--pose", required=True, metavar="NAME_OR_DIR",
        help="ViTPose of 17 joints, e.g. usyd-community/vitpose-base-simple or usyd-community/vitpose-plus-base",
    )  # fmt: skip
    command.add_argument(
        "--people", type=int, choices=(1, 2), default=1, help="how many people of a clip, the largest first (1)"
    )
    command.add_argument(
        "--detect_every", type=int, default=5, metavar="N",
        help="look for people in every Nth frame; in between, boxes move straight on (5)",
    )  # fmt: skip
    command.add_argument(
        "--min_score", type=float, default=0.5, help="how sure the detector has to be of a person, 0 to 1 (0.5)"
    )
    command.add_argument(
        "--mirrored", action="store_true",
        help="videos: the camera stored a mirror image (of a data set, its labels.json says it)",
    )  # fmt: skip
    command.add_argument(
        "--on-error", choices=("skip", "stop"), default="skip", help="what to do with a video that cannot be read"
    )
    command.add_argument("--batch_size", type=int, default=16, help="people that pass the network together (16)")
    command.add_argument("--device", help="e.g. cpu or cuda:1 (default: the first accelerator, else the CPU)")
    command.set_defaults(run=lambda args: run_keypoints(args, video_reader()))


def run_keypoints(args: argparse.Namespace, reader: Any) -> int:
    """Runs the command.

    Args:
        args: The command line.
        reader: The module `video_fgsgl`.

    Returns:
        0; 1 where nothing could be read; 3 where some videos failed.

    Raises:
        ValueError: A video failed, with `--on-error stop`, or the command cannot be carried out.
    """
    from microgesture.people import keypoint_files as files
    from microgesture.prediction import find_files

    dataset = _dataset(args)
    mirrored: bool | str = files.is_mirrored(dataset) if dataset else args.mirrored
    videos = [] if dataset else [file for file in find_files(args.source) if not _below(file, args.out)]
    failed: list[str] = []

    def on_failed(path: Path, error: Exception) -> None:
        told = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        if args.on_error == "stop":
            raise ValueError(told) from error
        failed.append(told)
        print(told, file=sys.stderr, flush=True)

    extractor, made_by = _extractor(args)
    writer = files.KeypointWriter(extractor, reader, made_by, mirrored is True, on_failed)
    outcomes = files.add_to_dataset(dataset, writer) if dataset else {"": files.make_split(videos, args.out, writer)}
    for split, outcome in outcomes.items():
        print(f"{dataset / split if dataset else args.out}: {outcome}")
    if mirrored == "unknown":
        print(f"note: {dataset} does not say whether its recordings are mirrored; left and right are as the picture")
    if not failed:
        return 0
    print(
        f"\n{len(failed)} videos failed" + ("; the data set's tables are as before" if dataset else ""),
        file=sys.stderr,
    )
    return SOME_FAILED if any(outcome.made + outcome.kept for outcome in outcomes.values()) else 1


def _dataset(args: argparse.Namespace) -> Path | None:
    """The data set that was named; `None` for videos."""
    from microgesture.data.clips import LABELS_FILE

    folders = [Path(source) for source in args.source if (Path(source) / LABELS_FILE).is_file()]
    if not folders:
        inside = sorted(path.parent.name for source in args.source for path in Path(source).glob(f"*/{LABELS_FILE}"))
        if inside:
            raise ValueError(f"{args.source[0]} holds the data sets {', '.join(inside)}; give one of them")
        if args.out is None:
            raise ValueError("name the split to make of the videos with --out, e.g. --out data/own/unlabelled")
        return None
    if len(args.source) > 1:
        raise ValueError(f"{folders[0]} is a data set; give it alone, or give videos")
    if args.out is not None or args.mirrored:
        raise ValueError(
            f"{folders[0]} is a data set: its keypoints lie in its own folder, and its {LABELS_FILE} says whether it "
            "is mirrored; leave out --out and --mirrored"
        )
    return folders[0]


def _below(file: str, folder: Path) -> bool:
    """Whether a file lies in a folder: a split that was begun inside the videos' folder holds each of them again."""
    return Path(os.path.abspath(file)).is_relative_to(os.path.abspath(folder))


def _extractor(args: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The two networks, and what their results depend on."""
    import torch

    from microgesture.evaluation.score_file import weights_digest
    from microgesture.people.detection import PersonDetector
    from microgesture.people.extraction import Extractor
    from microgesture.people.pose import LAYOUT, PoseEstimator
    from microgesture.people.weights import checkpoint_folder

    if not 0 < args.min_score < 1 or args.batch_size < 1:
        raise ValueError(
            f"--min_score is {args.min_score} (0 to 1), --batch_size {args.batch_size} (1 or more); correct them"
        )
    device = args.device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
    extractor = Extractor(
        PersonDetector.from_pretrained(args.detector, device, args.min_score),
        PoseEstimator.from_pretrained(args.pose, device, args.batch_size),
        args.people,
        args.detect_every,
    )
    made_by = {
        name: weights_digest(checkpoint_folder(given))[:16]
        for name, given in (("detector", args.detector), ("pose", args.pose))
    }
    made_by |= {name: getattr(args, name) for name in ("people", "detect_every", "min_score")}
    return extractor, made_by | {"layout": LAYOUT}
