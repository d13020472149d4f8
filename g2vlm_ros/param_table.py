"""The table of the node's parameters: default, description, unit, range."""

from __future__ import annotations

from g2vlm_ros.param_spec import Spec

__all__ = ["CAMERA_SPECS", "RENAMED", "SPECS"]

# Names of earlier versions, and what they are called now.
RENAMED = {"backend": "runtime", "engines": "export"}

SPECS: tuple[Spec, ...] = (
    Spec("autostart", False, "Configure and activate by itself, without a lifecycle manager"),
    # What runs.
    Spec("model", "nano", "Embedded model name or folder of a model"),
    Spec(
        "runtime",
        "auto",
        "What executes the model: auto, torch, onnx, tensorrt, or 'package.module:function'",
    ),
    Spec(
        "export",
        "",
        "Folder of `g2vlm export` that onnx and tensorrt take; empty: the cache, filled by itself",
    ),
    Spec("device", "auto", "Device of the runtime: auto, cpu, cuda, cuda:0"),
    Spec("precision", "auto", "Number format of the weights: auto, fp32, bf16, fp16"),
    Spec(
        "prompt_mode",
        "shared",
        "Geometry and questions share one pass, or the published prompts run separately",
        choices=("shared", "published"),
    ),
    # What comes in.
    Spec("cameras", ["camera"], "Names of the cameras; the first is the reference"),
    Spec(
        "images.reliability",
        "best_effort",
        "QoS of the picture and CameraInfo subscriptions",
        choices=("best_effort", "reliable"),
    ),
    Spec("images.queue", 5, "QoS history of the picture subscriptions", "messages", 1, 100),
    Spec(
        "images.timeout_s",
        2.0,
        "A camera without pictures for this long is missing",
        "s",
        0.1,
        3600.0,
        changeable=True,
    ),
    Spec(
        "images.max_jump_s",
        5.0,
        "A stamp that leaps further than this starts a new segment",
        "s",
        0.1,
        3600.0,
        changeable=True,
    ),
    Spec("images.max_pixels", 33554432, "Largest picture that is accepted", "px", 4, 1073676289),
    Spec(
        "sync.tolerance_s",
        0.02,
        "Pictures of several cameras within this time belong together",
        "s",
        0.0,
        1.0,
    ),
    # Which pictures are used.
    Spec(
        "window.size",
        8,
        "Moments that one pass of the model sees (one frame per camera each)",
        "",
        2,
        64,
    ),
    Spec("window.min_moments", 2, "Moments that the first scene of a segment needs", "", 1, 64),
    Spec(
        "window.overlap", 2, "Moments that a window shares at least with the one before", "", 1, 63
    ),
    Spec(
        "window.min_shared_view",
        0.7,
        "LOW_OVERLAP where the newest picture shares less with every earlier keyframe; 0 never",
        "",
        0.0,
        1.0,
        changeable=True,
    ),
    Spec(
        "keyframe.min_motion",
        0.05,
        "Median movement in the picture that makes a keyframe",
        "picture widths",
        0.0,
        1.0,
        changeable=True,
    ),
    Spec(
        "keyframe.min_parallax",
        0.002,
        "Movement beyond a turn of the camera that a window needs",
        "picture widths",
        0.0,
        1.0,
        changeable=True,
    ),
    Spec(
        "keyframe.min_interval_s",
        0.1,
        "Keyframes are at least this far apart",
        "s",
        0.0,
        3600.0,
        changeable=True,
    ),
    Spec(
        "keyframe.max_interval_s",
        1.0,
        "After this time the next picture is a keyframe; 0 never",
        "s",
        0.0,
        3600.0,
        changeable=True,
    ),
    # What goes out.
    Spec(
        "points.source",
        "newest",
        "Publish the newest moment, or all pictures of the window",
        choices=("newest", "window"),
        changeable=True,
    ),
    Spec(
        "points.organized",
        False,
        "Keep rows and columns; invalid points are NaN (one camera, newest)",
        changeable=True,
    ),
    Spec("points.decimation", 1, "Publish every n-th row and column", "px", 1, 64, changeable=True),
    Spec("points.min_confidence", 0.1, "Leave out points below", "", 0.0, 1.0, changeable=True),
    Spec(
        "points.min_range",
        0.0,
        "Leave out points nearer than this to their camera",
        "segment units",
        0.0,
        1e9,
        changeable=True,
    ),
    Spec(
        "points.max_range",
        0.0,
        "Leave out points further than this from their camera; 0 no limit",
        "segment units",
        0.0,
        1e9,
        changeable=True,
    ),
    Spec(
        "depth.min_confidence",
        0.0,
        "Depth below this confidence is NaN",
        "",
        0.0,
        1.0,
        changeable=True,
    ),
    Spec(
        "path.max_poses",
        1000,
        "Poses kept in the path, the oldest fall out",
        "poses",
        2,
        100000,
        changeable=True,
    ),
    Spec("tf.publish", False, "Publish the camera's pose as a transform"),
    Spec("tf.invert", False, "Publish camera -> map, for a camera that already has a parent frame"),
    Spec("tf.map_frame", "map", "Frame of poses and path: the first frame of the segment"),
    Spec("tf.odom_frame", "", "Publish map -> this frame (REP 105); needs a metric scale"),
    # Questions.
    Spec("query.queue", 8, "Questions that may wait", "questions", 1, 1000),
    Spec(
        "query.timeout_s",
        30.0,
        "Time of a question that names none, waiting included",
        "s",
        0.01,
        3600.0,
        changeable=True,
    ),
    Spec(
        "query.max_tokens",
        64,
        "Answer tokens of a question that names no limit",
        "tokens",
        1,
        1000,
        changeable=True,
    ),
    Spec("scenes.keep", 3, "Scenes kept for questions about an earlier stamp", "scenes", 1, 32),
    # Reports.
    Spec(
        "status.period_s",
        1.0,
        "Period of the status, diagnostics and repeated warnings",
        "s",
        0.02,
        60.0,
    ),
    Spec(
        "status.hold_s",
        5.0,
        "A reason that an event gave stays in force this long",
        "s",
        0.1,
        600.0,
        changeable=True,
    ),
    Spec(
        "status.tolerated",
        ["SCALE_UNKNOWN", "ENGINE_BUILDING", "WINDOW_SHORTENED"],
        "Reason codes that do not make the state DEGRADED",
        changeable=True,
    ),
)

CAMERA_SPECS: tuple[Spec, ...] = (
    Spec("image_topic", "{camera}/image_raw", "Topic of the pictures"),
    Spec("camera_info_topic", "{camera}/camera_info", "Topic of the CameraInfo; empty: none"),
    Spec(
        "transport",
        "raw",
        "Type of the pictures: Image or CompressedImage",
        choices=("raw", "compressed"),
    ),
    Spec("frame_id", "", "Optical frame to use in place of the header's"),
)
