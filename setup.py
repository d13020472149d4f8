# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Installs the node and its packages; the folders in `RENAMED` get other names.

colcon's ament_python build reads this file and setup.cfg; pyproject.toml holds the settings of
the tools only.
"""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "g2vlm_ros"
HERE = Path(__file__).parent
RENAMED = {
    "g2vlm_training": "training",
    "g2vlm_export": "export",
    "g2vlm_replay": "replay",
    "g2vlm_demo": "demo",
    "g2vlm_view": "view",
}


def renamed_packages(package: str, folder: str) -> list[str]:
    """Names of a renamed package and of the packages inside it."""
    return [package] + [f"{package}.{inner}" for inner in find_packages(str(HERE / folder))]


def files_in(folder: str) -> list[str]:
    """Files directly in a folder, as setup wants them: relative to this file."""
    return sorted(
        path.relative_to(HERE).as_posix()
        for path in (HERE / folder).glob("*")
        if path.is_file() and path.suffix != ".pyc"
    )


setup(
    name=NAME,
    version="0.1.0",
    description="Geometry grounded vision language model as a ROS 2 perception node",
    license="Apache-2.0",
    author="G2VLM ROS maintainers",
    author_email="maintainers@g2vlm-ros.example",
    maintainer="G2VLM ROS maintainers",
    maintainer_email="maintainers@g2vlm-ros.example",
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["g2vlm_model*", "g2vlm_map*", "g2vlm_ros*"]),
        *(name for item in RENAMED.items() for name in renamed_packages(*item)),
    ],
    package_dir=RENAMED,
    package_data={
        "g2vlm_model": ["py.typed", "weights/*/*"],
        "g2vlm_map": ["py.typed", "mapping/*.npz"],
        "g2vlm_ros": ["py.typed"],
        "g2vlm_replay": ["py.typed", "templates/*"],
        "g2vlm_training": [
            *("py.typed", "configs/*", "evaluate/templates/*", "evaluate/*.json"),
            *("datasets/templates/*", "reproduce/studies/*"),
        ],
        "g2vlm_export": ["py.typed"],
        "g2vlm_demo": ["py.typed"],
        "g2vlm_view": ["py.typed", "page/*"],
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", files_in("launch")),
        (f"share/{NAME}/policies", files_in("policies")),
    ],
    zip_safe=False,
    install_requires=[
        *("numpy>=1.24", "array-api-compat>=1.11", "pillow>=10.1", "safetensors>=0.4.5"),
        *("scipy>=1.10", "simplejpeg>=1.8", "tokenizers>=0.20", "torch>=2.10"),
    ],
    extras_require={
        "ros": ["opencv-python-headless>=4.6,<5", "pyyaml"],
        "recordings": ["opencv-python-headless>=4.6,<5", "rosbags>=0.11", "pyyaml", "lz4>=4"],
        "replay": [
            *("opencv-python-headless>=4.6,<5", "rosbags>=0.11", "evo>=1.31", "tqdm", "pyyaml"),
            *("jinja2>=3", "matplotlib>=3.6", "psutil", "lz4>=4"),
        ],
        "view": [
            *("opencv-python-headless>=4.6,<5", "viser>=1.1,<1.2", "aiohttp>=3.9", "pyyaml"),
            *("rosbags>=0.11", "lz4>=4"),
        ],
        "onnx": [
            *("onnx>=1.18", "onnx-ir>=0.1", "onnxruntime>=1.22", "onnxscript>=0.5", "tqdm"),
        ],
        "onnx-gpu": [  # in place of onnx: the two onnxruntime packages overwrite each other
            *("onnx>=1.18", "onnx-ir>=0.1", "onnxscript>=0.5"),
            "onnxruntime-gpu[cuda,cudnn]>=1.22; platform_machine == 'x86_64'",
            "tqdm",
        ],
        "tensorrt": [  # a Jetson's JetPack brings its own; cuda-bindings: the release of its CUDA
            *("tensorrt>=10.3; platform_machine == 'x86_64'", "onnx>=1.18", "cuda-bindings>=12.6"),
        ],
        "tensorrt-rtx": [
            "tensorrt-rtx>=1.7; platform_machine == 'x86_64'",
            *("onnx>=1.18", "cuda-bindings>=12.6"),
        ],
        "train": [
            *("pyyaml", "tqdm", "webdataset>=1.0", "h5py>=3.8", "tensorboard>=2.16"),
            *("opencv-python-headless>=4.6,<5", "pydantic>=2.12"),
            *("jinja2>=3", "matplotlib>=3.6"),  # reports of g2vlm evaluate
        ],
        "hub": ["huggingface_hub>=0.34"],  # models by repository id: ORG/NAME
        "scenes": [  # realistic training rooms; rays and denoiser have wheels for x86-64 alone
            "embreex>=4.4; platform_machine == 'x86_64'",
            *("pyoidn>=2.5; platform_machine == 'x86_64'", "trimesh>=4.5"),
        ],
        "gasp": ["peft>=0.17", "transformers>=5"],
        "benchmarks": ["opencv-python-headless>=4.6,<5", "pyarrow>=15"],  # g2vlm evaluate qa
        "test": ["pytest", "hypothesis", "playwright"],
        "dev": ["pytest", "hypothesis", "playwright", "ruff", "mypy"],
    },
    entry_points={
        "console_scripts": [
            "node = g2vlm_ros.node:command",
            "simulator = g2vlm_demo.simulator.__main__:command",
            "g2vlm = g2vlm_model.cli:command",
        ],
        "g2vlm.commands": [
            "replay = g2vlm_replay:main",
            "view = g2vlm_view:main",
            "doctor = g2vlm_ros.doctor.command:main",
            "simulate = g2vlm_demo.simulate:main",
            "train = g2vlm_training.cli:main",
            "dataset = g2vlm_training.dataset_cli:main",
            "evaluate = g2vlm_training.evaluate_cli:main",
            "reproduce = g2vlm_training.reproduce.cli:main",
            "analyse = g2vlm_training.analyse_cli:main",
            "export = g2vlm_export.cli:main",
            "model = g2vlm_model.model_cli:main",
        ],
    },
)
