# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words that came from outside, made fit for whoever reads them; also of the map's users."""

from g2vlm_model.interface.words import MAX_CHARS, plain

__all__ = ["MAX_CHARS", "plain"]
