# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the published architecture lacks and the embedded model uses, each an option."""
