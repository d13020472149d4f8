# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Window sizes of an engine: named profiles, what they cover, what is refused."""

from __future__ import annotations

import pytest

from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.runtimes.tensorrt.engines import Profile, named_profile, parse_size

WINDOWS = Profile((1, 84, 112), (2, 84, 112), (4, 84, 112))


def test_profiles_follow_the_model() -> None:
    config = ModelConfig.from_folder(resolve_folder("nano"))
    assert str(named_profile("jetson", config.dino_width, 14)) == "1x56x112..4x84x112..8x84x112"
    assert named_profile("desktop", 518, 14).maximum == (24, 518, 518)
    assert named_profile("jetson", 518, 14).optimum == (4, 392, 518)
    with pytest.raises(ValueError, match="expected custom or one of"):
        named_profile("phone", 518, 14)


def test_a_window_outside_the_profile_is_refused() -> None:
    WINDOWS.require((3, 84, 112))
    with pytest.raises(
        ValueError, match=r"window is 6x84x112.*built for 1x84x112 to 4x84x112"
    ) as e:
        WINDOWS.require((6, 84, 112))
    assert "--min 1,84,112 --opt 6,84,112 --max 6,84,112" in str(e.value)
    assert parse_size(" 6,84,112") == (6, 84, 112)
    for text in ("6,84", "0,84,112", "6,84,112,3", "a,b,c"):
        with pytest.raises(ValueError, match="expected frames,height,width"):
            parse_size(text)
    with pytest.raises(ValueError, match="height of the profile are"):
        Profile((1, 84, 112), (2, 70, 112), (4, 84, 112))
