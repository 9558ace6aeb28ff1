// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.h"
#include "nvme/controller-private.h"
#include "nvme/doorbell.h"
#include "nvme/interrupt.h"

/*
 * BAR0: the registers of section 3.1, doorbells from 4096 on. Everything is held in dwords; a
 * 64-bit register is two of them, which EDK2 reads and writes one at a time.
 */

static uint64_t capabilities(void)
{
	return NVME_CAP_MQES(NVME_MAX_IO_ENTRIES - 1) | NVME_CAP_CQR | NVME_CAP_TO(NVME_TIMEOUT) |
	       NVME_CAP_CSS_NVM | NVME_CAP_CRWMS;
}

static uint32_t read_dword(const struct nvme_controller *ctrl, uint64_t offset)
{
	const struct nvme_state_registers *registers = &ctrl->state->registers;

	switch (offset) {
	case NVME_REG_CAP:
		return capabilities();
	case NVME_REG_CAP + 4:
		return capabilities() >> 32;
	case NVME_REG_VS:
		return NVME_VS_2_0;
	case NVME_REG_INTMS:
	case NVME_REG_INTMC:
		return registers->intms;
	case NVME_REG_CC:
		return registers->cc;
	case NVME_REG_CSTS:
		return registers->csts;
	case NVME_REG_AQA:
		return registers->aqa;
	case NVME_REG_ASQ:
		return registers->asq;
	case NVME_REG_ASQ + 4:
		return registers->asq >> 32;
	case NVME_REG_ACQ:
		return registers->acq;
	case NVME_REG_ACQ + 4:
		return registers->acq >> 32;
	case NVME_REG_CRTO:
		return NVME_CRTO_CRWMT(NVME_TIMEOUT);
	default:
		return 0;
	}
}

static void set_half(uint64_t *reg, unsigned shift, uint32_t value)
{
	*reg = (*reg & ~(0xffffffffULL << shift)) | (uint64_t)value << shift;
	*reg &= ~(uint64_t)(NVME_PAGE_SIZE - 1); /* reserved */
}

static void write_mask(struct nvme_controller *ctrl, uint32_t intms)
{
	/* Section 3.1.3: undefined with MSI-X, so leave it without effect there. */
	ctrl->state->registers.intms = intms;
	if (!ctrl->msix)
		nvme_interrupt_update_intx(ctrl);
}

static void write_dword(struct nvme_controller *ctrl, uint64_t offset, uint32_t value)
{
	struct nvme_state_registers *registers = &ctrl->state->registers;
	bool enabled = registers->cc & NVME_CC_EN;

	switch (offset) {
	case NVME_REG_INTMS:
		write_mask(ctrl, registers->intms | value);
		return;
	case NVME_REG_INTMC:
		write_mask(ctrl, registers->intms & ~value);
		return;
	case NVME_REG_CC:
		nvme_controller_set_cc(ctrl, value & NVME_CC_WRITABLE);
		return;
	case NVME_REG_AQA:
	case NVME_REG_ASQ:
	case NVME_REG_ASQ + 4:
	case NVME_REG_ACQ:
	case NVME_REG_ACQ + 4:
		break;
	default:
		return; /* read-only or reserved */
	}
	if (enabled) {
		log_guest(LOG_NOTICE, "guest changes the admin queue of an enabled controller");
		return;
	}
	if (offset == NVME_REG_AQA)
		registers->aqa = value & NVME_AQA_WRITABLE;
	else if (offset < NVME_REG_ACQ)
		set_half(&registers->asq, (offset - NVME_REG_ASQ) * 8, value);
	else
		set_half(&registers->acq, (offset - NVME_REG_ACQ) * 8, value);
}

static bool access_is_valid(uint64_t offset, size_t len, const char *what)
{
	if ((len == 4 || len == 8) && offset % len == 0 && offset < NVME_BAR0_SIZE)
		return true;
	log_guest(LOG_NOTICE, "guest %s of %zu bytes at 0x%llx of BAR 0 left out", what, len,
		  (unsigned long long)offset);
	return false;
}

/* What a predecessor has left to do as soon as the guest's memory is there. */
static void before_access(struct nvme_controller *ctrl)
{
	if (ctrl->fence_due)
		nvme_controller_fence_due(ctrl);
	if (ctrl->start_due)
		nvme_controller_start_due(ctrl);
}

void nvme_controller_read(struct nvme_controller *ctrl, uint64_t offset, void *buf, size_t len)
{
	memset(buf, 0, len);
	if (!access_is_valid(offset, len, "read"))
		return;
	before_access(ctrl);
	for (size_t i = 0; i < len; i += 4) {
		uint32_t value = read_dword(ctrl, offset + i);

		memcpy((char *)buf + i, &value, sizeof(value));
	}
}

void nvme_controller_write(struct nvme_controller *ctrl, uint64_t offset, const void *buf,
			   size_t len)
{
	if (!access_is_valid(offset, len, "write"))
		return;
	before_access(ctrl);
	for (size_t i = 0; i < len; i += 4) {
		uint64_t at = offset + i;
		uint32_t value;

		memcpy(&value, (const char *)buf + i, sizeof(value));
		if (at < NVME_BAR0_DOORBELLS)
			write_dword(ctrl, at, value);
		else
			nvme_doorbell_write(ctrl, (at - NVME_BAR0_DOORBELLS) / 4, value);
	}
}
