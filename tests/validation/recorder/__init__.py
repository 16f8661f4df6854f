# SPDX-License-Identifier: GPL-2.0-only
"""The recorder: builds a Linux kernel with a test driver, boots it in QEMU, writes what it did as a recording."""
