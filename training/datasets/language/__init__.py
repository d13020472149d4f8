# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Data sets of (pictures, question, answer), in their published layouts (docs/language_data.md).

`rows.py` finds the entries of a file, `conversation.py` says what an entry becomes, `layouts.py`
what each layout's entries mean, and `pool.py` draws from them.
"""

from __future__ import annotations

from .conversation import Conversation, Turn
from .layouts import LANGUAGE_LAYOUTS
from .pool import LanguagePool

__all__ = ["LANGUAGE_LAYOUTS", "Conversation", "LanguagePool", "Turn"]
