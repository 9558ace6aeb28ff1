# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab: pseudo hosts with libvirt and QEMU, and guests in them. See README.md."""
