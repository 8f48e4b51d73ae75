#!/bin/sh
# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# In namespaces of our own: mount a writable view of $1, changes kept in $2, and run the rest
# of the arguments in it.
set -eu
lower=$1
work=$2
shift 2
mkdir -p "$work/changes" "$work/overlay" "$work/root"
if ! mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/changes,workdir=$work/overlay" \
    "$work/root" 2>/dev/null; then
    # Overlays do not stack on overlays, as inside some containers: a copy serves as well.
    [ -e "$work/copied" ] || cp -a --reflink=auto "$lower/." "$work/root/"
    : >"$work/copied"
    cp -a "$work/changes/." "$work/root/"
    mount --bind "$work/root" "$work/root"
fi
cd "$work/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t sysfs -o ro sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/sshd
hostname builder
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec chroot . "$@"
