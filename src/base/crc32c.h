/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_CRC32C_H
#define BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/** crc32c() - CRC-32C (Castagnoli), as iSCSI and NVMe use it, of @size bytes; @crc: 0, or that of
 * what is in front of them */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/** crc32c_by_table() - the same on a processor without an instruction for it */
uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size);

#endif
