#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# In a chroot of the image: build the lab's stock driver from /driver for the kernel $1, and lay
# out under /installed what NVIDIA's installer would put into the system.
set -eu
kernel=$1
modules=/installed/usr/lib/modules/$kernel/kernel/drivers/video
mkdir -p "$modules" /installed/etc/modules-load.d
make -C /driver/kernel -j"$(nproc)" modules KERNEL_UNAME="$kernel"
for module in /driver/kernel/kernel-open/*.ko; do
    strip --strip-debug -o "$modules/${module##*/}" "$module"
done
make -C /driver/userspace -j"$(nproc)" install DESTDIR=/installed
printf '%s\n' nvidia nvidia-uvm nvidia-modeset nvidia-drm >/installed/etc/modules-load.d/nvidia.conf
