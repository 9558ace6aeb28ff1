// SPDX-License-Identifier: LGPL-2.1-or-later
#include "nvme/identify.h"

#include <stdio.h>
#include <uuid.h>

#include "nvme/ana.h"
#include "nvme/controller-private.h"
#include "nvme/copy.h"
#include "nvme/doorbell.h"
#include "nvme/format.h"
#include "nvme/reservation.h"
#include "nvme/subsystem.h"

#define PAGE_BYTES 4096

/* A page of any of the data structures, zeroes at first. */
union page {
	uint8_t bytes[PAGE_BYTES];
	uint32_t nsids[PAGE_BYTES / sizeof(uint32_t)];
	uint16_t controllers[PAGE_BYTES / sizeof(uint16_t)];
	struct nvme_identify_controller controller;
	struct nvme_identify_namespace namespace;
	struct nvme_identify_independent independent;
	uint64_t command_sets[512];
};

void nvme_identify_pad(char *field, size_t size, const char *text)
{
	size_t len = strnlen(text, size);

	memcpy(field, text, len);
	memset(field + len, ' ', size - len);
}

static void identify_nqn(const struct nvme_controller_config *config, char *nqn, size_t size)
{
	char text[UUID_STR_LEN];

	if (config->subnqn[0]) {
		snprintf(nqn, size, "%s", config->subnqn);
		return;
	}
	uuid_unparse_lower(nvme_config_subsystem(config), text);
	snprintf(nqn, size, "nqn.2014-08.org.nvmexpress:uuid:%s", text);
}

static void identify_controller(struct nvme_controller *ctrl, struct nvme_identify_controller *id)
{
	id->vid = NVME_PCI_VENDOR;
	id->ssvid = NVME_PCI_SUBSYSTEM_VENDOR;
	nvme_identify_pad(id->sn, sizeof(id->sn), ctrl->config.serial);
	nvme_identify_pad(id->mn, sizeof(id->mn), NVME_MODEL);
	nvme_identify_pad(id->fr, sizeof(id->fr), NVME_FIRMWARE);
	id->rab = 5;
	nvme_ana_identify(ctrl, id);
	id->mdts = NVME_MDTS_SHIFT;
	id->cntlid = ctrl->config.cntlid;
	id->ver = NVME_VS_2_0;
	id->oaes = NVME_OAES_NAMESPACE;
	id->ctratt = NVME_CTRATT_HOST_ID | NVME_CTRATT_TBKAS;
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->oacs = NVME_OACS_FORMAT;
	if (nvme_doorbell_has_config(ctrl))
		id->oacs |= NVME_OACS_DOORBELL_BUFFER;
	id->fna = NVME_FNA_NOT_ALL;
	id->acl = 3;
	id->aerl = NVME_MAX_ASYNC_EVENTS - 1;
	id->frmw = NVME_FRMW_SLOTS(1) | NVME_FRMW_SLOT1_READ_ONLY;
	id->lpa = NVME_LPA_EFFECTS | NVME_LPA_EXTENDED | NVME_LPA_SUPPORTED;
	id->elpe = NVME_ERROR_LOG_ENTRIES - 1;
	id->wctemp = NVME_WARNING_TEMPERATURE;
	id->cctemp = NVME_CRITICAL_TEMPERATURE;
	id->kas = NVME_KEEP_ALIVE_UNITS;
	id->sqes = NVME_SQE_SHIFT << 4 | NVME_SQE_SHIFT;
	id->cqes = NVME_CQE_SHIFT << 4 | NVME_CQE_SHIFT;
	id->nn = NVME_MAX_NAMESPACES;
	/* Of every namespace, whatever its image can do: a guest looks once. */
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_DATASET | NVME_ONCS_WRITE_ZEROES |
		   NVME_ONCS_SAVE_SELECT | NVME_ONCS_TIMESTAMP | NVME_ONCS_VERIFY | NVME_ONCS_COPY;
	if (nvme_reservation_is_offered(ctrl))
		id->oncs |= NVME_ONCS_RESERVATIONS;
	id->fuses = NVME_FUSES_COMPARE_WRITE;
	/* In blocks of any size; no other command of this controller comes between. */
	id->acwu = NVME_MAX_TRANSFER / 4096 - 1;
	id->ocfs = 1;
	/* A guest looks once, and a namespace with a volatile cache may be attached later: without
	 * this bit it would never be flushed. */
	id->vwc = NVME_VWC_PRESENT | NVME_VWC_FLUSH_ALL_REFUSED;
	id->sgls = NVME_SGLS_SUPPORTED | NVME_SGLS_BIT_BUCKET | NVME_SGLS_EXCESS;
	identify_nqn(&ctrl->config, id->subnqn, sizeof(id->subnqn));
	id->psd[0].max_power = 2500;
	id->psd[0].entry_latency = 16;
	id->psd[0].exit_latency = 4;
}

static uint8_t reservations(const struct nvme_namespace *ns)
{
	if (!ns->reservation)
		return 0;
	return NVME_RESCAP_ALL_TYPES | NVME_RESCAP_IEKEY |
	       (ns->share->durable ? NVME_RESCAP_PERSIST : 0);
}

static void identify_namespace(const struct nvme_namespace *ns, struct nvme_identify_namespace *id)
{
	const struct block_info *info = block_get_info(ns->block);
	uint32_t unit = info->granularity >> ns->block_shift;

	id->nsze = id->ncap = id->nuse = READ_ONCE(ns->blocks);
	nvme_ana_identify_namespace(ns, &id->nmic, &id->anagrpid);
	id->rescap = reservations(ns);
	id->fpi = NVME_FPI_SUPPORTED | nvme_format_percent_left(ns);
	id->nsattr = ns->read_only ? NVME_NSATTR_WRITE_PROTECTED : 0;
	if (info->can_discard)
		id->dlfeat = NVME_DLFEAT_ZEROES | NVME_DLFEAT_WRITE_ZEROES;
	if (unit > 1) {
		id->nsfeat = NVME_NSFEAT_OPTIMAL;
		id->npwg = id->npwa = id->npdg = id->npda = id->nows = unit - 1;
	}
	id->mssrl = id->mcl = NVME_COPY_MAX_BYTES >> ns->block_shift;
	id->msrc = NVME_COPY_MAX_RANGES - 1;
	memcpy(id->nguid, ns->nguid, sizeof(id->nguid));
	memcpy(id->eui64, ns->eui64, sizeof(id->eui64));
	for (unsigned i = 0; i < nvme_format_count(ns); i++)
		id->lbaf[i].data_shift = nvme_format_shift(ns, i);
	id->nlbaf = nvme_format_count(ns) - 1;
	id->flbas = ns->block_shift != id->lbaf[0].data_shift;
}

static void identify_independent(const struct nvme_namespace *ns,
				 struct nvme_identify_independent *id)
{
	nvme_ana_identify_namespace(ns, &id->nmic, &id->anagrpid);
	id->rescap = reservations(ns);
	id->fpi = NVME_FPI_SUPPORTED | nvme_format_percent_left(ns);
	id->nsattr = ns->read_only ? NVME_NSATTR_WRITE_PROTECTED : 0;
	id->nstat = NVME_NSTAT_READY;
}

static void identify_active(struct nvme_controller *ctrl, uint32_t after, uint32_t *list)
{
	for (uint32_t nsid = 1; nsid <= NVME_MAX_NAMESPACES; nsid++)
		if (nsid > after && nvme_namespace_find(ctrl, nsid))
			*list++ = nsid;
}

static uint8_t *add_descriptor(uint8_t *at, uint8_t type, const uint8_t *id, uint8_t len)
{
	at[0] = type;
	at[1] = len;
	memcpy(at + 4, id, len);
	return at + 4 + len;
}

static void identify_descriptors(const struct nvme_namespace *ns, uint8_t *at)
{
	static const uint8_t none[sizeof(ns->eui64)], nvm_command_set;

	if (memcmp(ns->eui64, none, sizeof(none)))
		at = add_descriptor(at, NVME_NIDT_EUI64, ns->eui64, sizeof(ns->eui64));
	at = add_descriptor(at, NVME_NIDT_NGUID, ns->nguid, sizeof(ns->nguid));
	at = add_descriptor(at, NVME_NIDT_UUID, ns->uuid, sizeof(ns->uuid));
	add_descriptor(at, NVME_NIDT_COMMAND_SET, &nvm_command_set, sizeof(nvm_command_set));
}

/* Of one namespace, zeroes when it is not active. */
static nvme_status fill_namespace(struct nvme_request *request, unsigned cns, union page *page)
{
	uint32_t nsid = request->command.nsid;
	const struct nvme_namespace *ns = nvme_namespace_find(request->worker->ctrl, nsid);

	if (!nsid || nsid > NVME_MAX_NAMESPACES)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	if (ns && (cns == NVME_CNS_NAMESPACE || cns == NVME_CNS_ALLOCATED_NAMESPACE))
		identify_namespace(ns, &page->namespace);
	else if (ns && cns == NVME_CNS_INDEPENDENT_NAMESPACE)
		identify_independent(ns, &page->independent);
	else if (ns && cns == NVME_CNS_DESCRIPTORS)
		identify_descriptors(ns, page->bytes);
	else if (cns == NVME_CNS_DESCRIPTORS)
		return nvme_invalid_field(request, nsid);
	return 0;
}

static nvme_status fill_list(struct nvme_request *request, union page *page)
{
	if (request->command.nsid >= NVME_NSID_ALL - 1)
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	identify_active(request->worker->ctrl, request->command.nsid, page->nsids);
	return 0;
}

static nvme_status fill_controllers(struct nvme_request *request, unsigned cns, union page *page)
{
	uint32_t nsid = cns == NVME_CNS_ATTACHED_CONTROLLERS ? request->command.nsid : 0;

	if (nsid == NVME_NSID_ALL)
		return nvme_invalid_field(request, nsid);
	if (cns == NVME_CNS_ATTACHED_CONTROLLERS && (!nsid || nsid > NVME_MAX_NAMESPACES))
		return NVME_INVALID_NAMESPACE | NVME_DNR;
	nvme_subsystem_list(request->worker->ctrl, nsid,
			    NVME_IDENTIFY_CNTID(request->command.cdw10), page->controllers);
	return 0;
}

static nvme_status fill_command_sets(struct nvme_request *request, union page *page)
{
	unsigned cntid = NVME_IDENTIFY_CNTID(request->command.cdw10);

	if (cntid != NVME_CNTID_SELF && cntid != request->worker->ctrl->config.cntlid)
		return nvme_invalid_field(request, cdw10);
	page->command_sets[0] = 1; /* the NVM command set */
	return 0;
}

/* All that is asked about one command set is asked about NVM, which is 0. */
static nvme_status judge_command_set(struct nvme_request *request)
{
	if (!NVME_IDENTIFY_CSI(request->command.cdw11))
		return 0;
	return nvme_request_invalid_field(request, offsetof(struct nvme_command, cdw11) + 3);
}

static nvme_status fill(struct nvme_request *request, union page *page)
{
	unsigned cns = NVME_IDENTIFY_CNS(request->command.cdw10);
	nvme_status status;

	switch (cns) {
	case NVME_CNS_CONTROLLER:
		identify_controller(request->worker->ctrl, &page->controller);
		return 0;
	case NVME_CNS_NVM_CONTROLLER: /* zeroes: no limits */
		return judge_command_set(request);
	case NVME_CNS_NVM_NAMESPACE: /* zeroes: no protection information */
		status = judge_command_set(request);
		return status ? status : fill_namespace(request, cns, page);
	case NVME_CNS_NAMESPACE:
	case NVME_CNS_DESCRIPTORS:
	case NVME_CNS_INDEPENDENT_NAMESPACE:
	case NVME_CNS_ALLOCATED_NAMESPACE:
		return fill_namespace(request, cns, page);
	case NVME_CNS_NVM_ACTIVE_LIST:
		status = judge_command_set(request);
		return status ? status : fill_list(request, page);
	case NVME_CNS_ACTIVE_LIST:
	case NVME_CNS_ALLOCATED_LIST: /* what is there is attached */
		return fill_list(request, page);
	case NVME_CNS_ATTACHED_CONTROLLERS:
	case NVME_CNS_CONTROLLERS:
		return fill_controllers(request, cns, page);
	case NVME_CNS_COMMAND_SETS:
		return fill_command_sets(request, page);
	default:
		return nvme_invalid_field(request, cdw10);
	}
}

void nvme_identify(struct nvme_request *request)
{
	union page page = { 0 };
	nvme_result result = fill(request, &page);

	if (!result)
		result = nvme_data_pointer_reply(request, &page, sizeof(page));
	nvme_request_finish(request, result);
}
