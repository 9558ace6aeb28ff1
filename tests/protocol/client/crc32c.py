# SPDX-License-Identifier: LGPL-2.1-or-later
"""The checksum of a state's parts, as src/base/crc32c.c makes it."""
TABLE = []
for value in range(256):
    for _ in range(8):
        value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    TABLE.append(value)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff
