# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0
