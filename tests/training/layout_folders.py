# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A room whose every surface point is known, written in the layouts of public data sets.

The room is a box seen from inside, so no point of it hides another: whatever one frame sees, the
other sees too, at the depth and in the colour that the geometry says.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from g2vlm_replay.node.bag_writer import BagWriter
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.replay.bags import NS, OPTICAL, Scribe, png

HALF = np.array([3.0, 2.2, 1.3])
OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Truth:
    """N frames; K is what the layout's own default lens is where the layout has no file for it."""

    rgb: np.ndarray
    depth: np.ndarray
    T_world_cam: np.ndarray
    K: np.ndarray


def make_truth(K: np.ndarray, size: tuple[int, int] = (48, 64), frames: int = 3) -> Truth:
    """Pictures of the room from places near its middle."""
    turns = Rotation.from_euler(
        "zyx", [(5 * i, 9 * i - 12, 6.3 - 3.1 * i) for i in range(frames)], True
    )
    level = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], np.float64)  # looks along world x
    v, u = np.mgrid[: size[0], : size[1]]
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T
    rgb, depth, poses = [], [], []
    for index, turn in enumerate(turns):
        pose = np.eye(4)
        pose[:3, :3] = level @ turn.as_matrix()
        pose[:3, 3] = (0.15 * index, 0.2 - 0.12 * index, 0.05 * index - 0.1)
        directions = rays @ pose[:3, :3].T
        z = ((np.sign(directions) * HALF - pose[:3, 3]) / directions).min(-1)
        points = pose[:3, 3] + directions * z[..., None]
        rgb.append(127.5 + 110 * np.sin(points * (1.1, 1.4, 1.7) + (0.3, 1.0, 2.0)))
        depth.append(z)
        poses.append(pose)
    return Truth(np.round(rgb).astype(np.uint8), np.array(depth), np.array(poses), K)


def pinhole(f: float, cx: float, cy: float) -> np.ndarray:
    return np.array([[f, 0, cx], [0, f, cy], [0, 0, 1.0]])


def save(path: Path, array: np.ndarray) -> None:
    """A PNG, or a JPEG without visible loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        Image.fromarray(array).save(path, quality=98)
    else:
        Image.fromarray(array).save(path, compress_level=1)


def save_depth(path: Path, depth: np.ndarray, per_unit: float) -> None:
    save(path, np.rint(depth * per_unit).astype(np.uint16))


def save_hdf5(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["dataset"] = array


def write_7scenes(root: Path) -> Truth:
    truth = make_truth(pinhole(55.0, 33.0, 22.5))
    folder = root / "kitchen" / "seq-01"
    for i, pose in enumerate(truth.T_world_cam):
        save(folder / f"frame-{i:06d}.color.png", truth.rgb[i])
        save_depth(folder / f"frame-{i:06d}.depth.png", truth.depth[i], 1000)
        np.savetxt(folder / f"frame-{i:06d}.pose.txt", pose)
    np.savetxt(folder / "camera-intrinsics.txt", truth.K)
    return truth


def write_tum(root: Path) -> Truth:
    size = (300, 480)
    truth = make_truth(np.array([[535.4, 0, 320.1], [0, 539.2, 247.6], [0, 0, 1]]), size)
    folder = root / "rgbd_dataset_freiburg3_room"
    times = 1000.0 + np.arange(3) * 0.5
    lists: dict[str, list[str]] = {"rgb": ["# color"], "depth": ["# depth"]}
    for i, time in enumerate(times):
        save(folder / f"rgb/{time:.6f}.png", truth.rgb[i])
        save_depth(folder / f"depth/{time + 0.011:.6f}.png", truth.depth[i], 5000)
        lists["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        lists["depth"].append(f"{time + 0.011:.6f} depth/{time + 0.011:.6f}.png")
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    track = ["# timestamp tx ty tz qx qy qz qw"]
    for time, pose in zip(times, truth.T_world_cam, strict=True):
        # The mocap speaks 20 ms before and 30 ms after; the pose between them is the true one.
        step, turn = np.array([0.1, -0.2, 0.05]), np.array([0.02, 0.01, -0.03])
        for late in (-0.02, 0.03):
            R = Rotation.from_matrix(pose[:3, :3]) * Rotation.from_rotvec(turn * late)
            numbers = [time + late, *(pose[:3, 3] + step * late), *R.as_quat()]
            track.append(" ".join(f"{number:.9f}" for number in numbers))
    (folder / "groundtruth.txt").write_text("\n".join(track) + "\n")
    return truth


def write_posed(root: Path) -> Truth:
    truth = make_truth(pinhole(80.0, 60.0, 44.0), (90, 120))
    folder = root / "walk"
    for i in range(len(truth.T_world_cam)):
        save(folder / f"images/{3 * i + 3:05d}.png", truth.rgb[i])
        save_depth(folder / f"depth/{3 * i + 3:05d}.png", truth.depth[i], 1000)
    np.savetxt(folder / "poses.txt", truth.T_world_cam.reshape(-1, 16))
    np.savetxt(folder / "K.txt", truth.K)
    return truth


def write_scannet(root: Path) -> Truth:
    truth = make_truth(pinhole(110.0, 65.0, 46.0), (96, 128), 4)
    K_depth = pinhole(54.0, 31.0, 23.0)
    small = make_truth(K_depth, (48, 64), 4)
    folder = root / "scene0000_00"
    for i, pose in enumerate(truth.T_world_cam):
        save(folder / f"color/{i}.jpg", truth.rgb[i])
        save_depth(folder / f"depth/{i}.png", small.depth[i], 1000)
        lost = np.full((4, 4), -np.inf)
        (folder / "pose").mkdir(exist_ok=True)
        np.savetxt(folder / f"pose/{i}.txt", lost if i == 1 else pose)
    for name, K in (("color", truth.K), ("depth", K_depth)):
        (folder / "intrinsic").mkdir(exist_ok=True)
        full = np.eye(4)
        full[:3, :3] = K
        np.savetxt(folder / f"intrinsic/intrinsic_{name}.txt", full)
    keep = [0, 2, 3]
    return Truth(truth.rgb[keep], truth.depth[keep], truth.T_world_cam[keep], truth.K)


def write_co3d(root: Path, kind: str = "ndc_isotropic") -> Truth:
    truth, scale = make_truth(pinhole(55.0, 33.0, 22.5)), 1.7
    entries = []
    for i, pose in enumerate(truth.T_world_cam):
        place = Path("chair") / "12_34_56"
        save(root / place / f"images/frame{i:06d}.jpg", truth.rgb[i])
        code = (truth.depth[i] / scale).astype(np.float16).view(np.uint16)
        save(root / place / f"depths/frame{i:06d}.png", code)
        mask = np.full(code.shape, 255, np.uint8)
        mask[:2] = 0
        save(root / place / f"depth_masks/frame{i:06d}.png", mask)
        height, width = code.shape
        unit = (
            np.array([min(height, width)] * 2 if kind == "ndc_isotropic" else [width, height]) / 2
        )
        T = np.diag([-1.0, -1, 1, 1]) @ np.linalg.inv(pose)
        offset = np.array([width / 2 - 33.5, height / 2 - 23.0]) / unit
        entries.append({
            "sequence_name": "12_34_56", "frame_number": i,
            "image": {"path": str(place / f"images/frame{i:06d}.jpg"), "size": [height, width]},
            "depth": {
                "path": str(place / f"depths/frame{i:06d}.png"), "scale_adjustment": scale,
                "mask_path": str(place / f"depth_masks/frame{i:06d}.png"),
            },
            "viewpoint": {
                "R": T[:3, :3].T.tolist(), "T": T[:3, 3].tolist(), "intrinsics_format": kind,
                "focal_length": (55.0 / unit).tolist(), "principal_point": offset.tolist(),
            },
        })  # fmt: skip
    with gzip.open(root / "chair" / "frame_annotations.jgz", "wt", encoding="utf-8") as file:
        json.dump(entries, file)
    truth.depth[:, :2] = 0
    return truth


def write_arkitscenes(root: Path) -> Truth:
    truth = make_truth(pinhole(55.0, 33.0, 22.5))
    folder = root / "47333462"
    track = []
    for i, pose in enumerate(truth.T_world_cam):
        time = 100.0 + 0.5 * i
        name = f"47333462_{time:.3f}"
        save(folder / f"lowres_wide/{name}.png", truth.rgb[i])
        save_depth(folder / f"lowres_depth/{name}.png", truth.depth[i], 1000)
        level = np.full(truth.depth[i].shape, 2, np.uint8)
        level[:, :3] = 0
        save(folder / f"confidence/{name}.png", level)
        lens = folder / f"lowres_wide_intrinsics/47333462_{time + 0.001:.3f}.pincam"
        lens.parent.mkdir(exist_ok=True)
        lens.write_text("64 48 55.0 55.0 33.0 22.5")
        for late in (-0.04, 0.06):
            moved = pose.copy()
            moved[:3, 3] += np.array([0.2, 0.1, -0.1]) * late
            T_cam_world = np.linalg.inv(moved)
            turn = Rotation.from_matrix(T_cam_world[:3, :3]).as_rotvec()
            numbers = [time + late, *turn, *T_cam_world[:3, 3]]
            track.append(" ".join(f"{number:.9f}" for number in numbers))
    (folder / "lowres_wide.traj").write_text("\n".join(track) + "\n")
    truth.depth[:, :, :3] = 0
    return truth


def write_dl3dv(root: Path) -> Truth:
    truth = make_truth(pinhole(55.0, 33.0, 22.5))
    folder = root / "1K" / "0a1b2c"
    frames = []
    for i, pose in enumerate(truth.T_world_cam):
        save(folder / f"images_4/frame_{i:05d}.png", truth.rgb[i])
        (folder / "depth").mkdir(exist_ok=True)
        np.save(folder / f"depth/frame_{i:05d}.npy", truth.depth[i].astype(np.float32))
        frames.append({
            "file_path": f"images/frame_{i:05d}.png", "transform_matrix": (pose @ OPENGL).tolist(),
            "depth_file_path": f"depth/frame_{i:05d}.npy",
        })  # fmt: skip
    content = {
        "w": 256, "h": 192, "fl_x": 220.0, "fl_y": 220.0, "cx": 134.0, "cy": 92.0,
        "k1": 0.0, "camera_model": "OPENCV", "frames": frames,
    }  # fmt: skip
    (folder / "transforms.json").write_text(json.dumps(content))
    return truth


def write_tartanair(root: Path) -> Truth:
    truth = make_truth(pinhole(32.0, 31.5, 23.5))
    folder = root / "office" / "Easy" / "P000"
    ned_from_world = np.diag([1.0, -1, -1])  # the world of the truth has z up
    # A camera that looks along x, with y right and z down.
    opencv_from_ned = np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]], np.float64)
    lines = []
    for i, pose in enumerate(truth.T_world_cam):
        save(folder / f"image_left/{i:06d}_left.png", truth.rgb[i])
        (folder / "depth_left").mkdir(exist_ok=True)
        np.save(folder / f"depth_left/{i:06d}_left_depth.npy", truth.depth[i].astype(np.float32))
        turn = Rotation.from_matrix(ned_from_world @ pose[:3, :3] @ opencv_from_ned)
        numbers = [*(ned_from_world @ pose[:3, 3]), *turn.as_quat()]
        lines.append(" ".join(f"{number:.9f}" for number in numbers))
    (folder / "pose_left.txt").write_text("\n".join(lines) + "\n")
    return truth


def write_hypersim(root: Path, lens: str = "") -> Truth:
    truth, unit = make_truth(pinhole(32 / np.tan(np.radians(30)), 31.5, 23.5)), 0.025
    scene = root / "ai_001_001"
    detail = scene / "_detail" / "cam_00"
    v, u = np.mgrid[:48, :64]
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(truth.K).T
    for i in range(3):
        images = scene / "images"
        save(images / f"scene_cam_00_final_preview/frame.{i:04d}.tonemap.jpg", truth.rgb[i])
        distance = (truth.depth[i] * np.linalg.norm(rays, axis=-1)).astype(np.float16)
        distance[:2] = np.nan
        path = images / f"scene_cam_00_geometry_hdf5/frame.{i:04d}.depth_meters.hdf5"
        save_hdf5(path, distance)
    poses = truth.T_world_cam @ OPENGL
    save_hdf5(detail / "camera_keyframe_positions.hdf5", poses[:, :3, 3] / unit)
    save_hdf5(detail / "camera_keyframe_orientations.hdf5", poses[:, :3, :3])
    save_hdf5(detail / "camera_keyframe_frame_indices.hdf5", np.arange(3))
    (scene / "_detail" / "metadata_scene.csv").write_text(
        f"parameter_name,parameter_value\nmeters_per_asset_unit,{unit}\n"
    )
    if lens:
        head = ",".join(f"M_cam_from_uv_{i}{j}" for i in range(3) for j in range(3))
        path = root / "metadata_camera_parameters.csv"
        path.write_text(f"scene_name,{head}\nai_001_001,{lens}\n")
    truth.depth[:, :2] = 0
    return truth


def write_recording(root: Path, distortion: tuple[float, ...] = (0.0,) * 5) -> Truth:
    """A bag: the camera on a mount, its base seen by TF 20 ms before and 30 ms after a frame."""
    truth = make_truth(pinhole(55.0, 33.0, 22.5))
    mount = np.eye(4)
    mount[:3, :3] = Rotation.from_euler("xyz", (-90, 10, -90), True).as_matrix()
    mount[:3, 3] = (0.1, 0.02, 0.3)
    with BagWriter(root / "drive") as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", NS, "base", OPTICAL, mount)
        for i, pose in enumerate(truth.T_world_cam):
            ns = 10 * NS + i * NS // 2
            T_world_base = pose @ np.linalg.inv(mount)
            step, turn = np.array([0.1, -0.2, 0.05]), np.array([0.02, 0.01, -0.03])
            for late_ns in (-20_000_000, 30_000_000):
                T = T_world_base.copy()
                T[:3, :3] @= Rotation.from_rotvec(turn * late_ns / NS).as_matrix()
                T[:3, 3] += step * late_ns / NS
                scribe.tf("/tf", ns + late_ns, "world", "base", T)
            scribe.info("/camera/camera_info", ns, (48, 64), truth.K, distortion)
            scribe.image("/camera/image_raw", ns, truth.rgb[i], "rgb8")
            depth_mm = np.rint(truth.depth[i] * 1000).astype(np.uint16)
            scribe.compressed(
                "/camera/depth/compressed", ns + 11_000_000, png(depth_mm), "16UC1; png"
            )
    return truth


WRITERS: dict[str, Callable[[Path], Truth]] = {
    "7scenes": write_7scenes,
    "arkitscenes": write_arkitscenes,
    "co3d": write_co3d,
    "dl3dv": write_dl3dv,
    "hypersim": write_hypersim,
    "posed": write_posed,
    "recording": write_recording,
    "scannet": write_scannet,
    "tartanair": write_tartanair,
    "tum": write_tum,
}
