/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef NVME_SPEC_H
#define NVME_SPEC_H

#include "base/util.h"

/*
 * Names, numbers and layouts of the NVM Express base specification and its NVM command set, as far as
 * they are used here. Sections and figures are those of 1.4, which has both in one document; what came
 * with 2.0 says so. Nothing in this file is ours to choose.
 */

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "registers and structures are little-endian and used in place"
#endif

/* Registers, section 3.1 */
#define NVME_REG_CAP	      0x00 /* 64 bits */
#define NVME_REG_VS	      0x08
#define NVME_REG_INTMS	      0x0c
#define NVME_REG_INTMC	      0x10
#define NVME_REG_CC	      0x14
#define NVME_REG_CSTS	      0x1c
#define NVME_REG_AQA	      0x24
#define NVME_REG_ASQ	      0x28 /* 64 bits */
#define NVME_REG_ACQ	      0x30 /* 64 bits */
#define NVME_REG_CRTO	      0x68

#define NVME_CAP_MQES(x)      ((uint64_t)(x))
#define NVME_CAP_CQR	      (1ULL << 16)
#define NVME_CAP_TO(x)	      ((uint64_t)(x) << 24) /* in 500 ms */
#define NVME_CAP_CSS_NVM      (1ULL << 37)
#define NVME_CAP_CRWMS	      (1ULL << 59) /* CRTO says how long with media means */

#define NVME_VS_2_0	      0x00020000

#define NVME_CRTO_CRWMT(x)    ((uint32_t)(x)) /* in 500 ms */

#define NVME_CC_EN	      (1u << 0)
#define NVME_CC_CSS(cc)	      (((cc) >> 4) & 7)
#define NVME_CC_MPS(cc)	      (((cc) >> 7) & 15)
#define NVME_CC_AMS(cc)	      (((cc) >> 11) & 7)
#define NVME_CC_SHN(cc)	      (((cc) >> 14) & 3)
#define NVME_CC_IOSQES(cc)    (((cc) >> 16) & 15)
#define NVME_CC_IOCQES(cc)    (((cc) >> 20) & 15)
#define NVME_CC_WRITABLE      0x00fffff1u

#define NVME_CSTS_RDY	      (1u << 0)
#define NVME_CSTS_CFS	      (1u << 1)
#define NVME_CSTS_SHST_MASK   (3u << 2)
#define NVME_CSTS_SHST_OCCURS (1u << 2)
#define NVME_CSTS_SHST_OVER   (2u << 2)

#define NVME_AQA_ASQS(aqa)    ((aqa)&0xfff) /* 0-based */
#define NVME_AQA_ACQS(aqa)    (((aqa) >> 16) & 0xfff)
#define NVME_AQA_WRITABLE     0x0fff0fffu

#define NVME_PAGE_SIZE	      4096u /* CC.MPS 0 is the only one offered */
#define NVME_SQE_SHIFT	      6
#define NVME_CQE_SHIFT	      4

#define NVME_NSID_ALL	      0xffffffffu

/* Admin commands, section 5 */
#define NVME_ADMIN_DELETE_SQ	   0x00
#define NVME_ADMIN_CREATE_SQ	   0x01
#define NVME_ADMIN_GET_LOG	   0x02
#define NVME_ADMIN_DELETE_CQ	   0x04
#define NVME_ADMIN_CREATE_CQ	   0x05
#define NVME_ADMIN_IDENTIFY	   0x06
#define NVME_ADMIN_ABORT	   0x08
#define NVME_ADMIN_SET_FEATURE	   0x09
#define NVME_ADMIN_GET_FEATURE	   0x0a
#define NVME_ADMIN_ASYNC_EVENT	   0x0c
#define NVME_ADMIN_KEEP_ALIVE	   0x18
#define NVME_ADMIN_DOORBELL_BUFFER 0x7c
#define NVME_ADMIN_FORMAT	   0x80

/* I/O commands, section 6 */
#define NVME_IO_FLUSH		     0x00
#define NVME_IO_WRITE		     0x01
#define NVME_IO_READ		     0x02
#define NVME_IO_COMPARE		     0x05
#define NVME_IO_WRITE_ZEROES	     0x08
#define NVME_IO_DATASET_MANAGEMENT   0x09
#define NVME_IO_VERIFY		     0x0c
#define NVME_IO_RESERVATION_REGISTER 0x0d
#define NVME_IO_RESERVATION_REPORT   0x0e
#define NVME_IO_RESERVATION_ACQUIRE  0x11
#define NVME_IO_RESERVATION_RELEASE  0x15
#define NVME_IO_COPY		     0x19 /* 2.0 */

/*
 * Status field of a completion, section 4.6.1, without the phase: code in bits 7:0, code type in
 * 10:8.
 */
typedef uint16_t nvme_status;

#define NVME_MORE (1u << 13) /* the error log tells more */
#define NVME_DNR  (1u << 14) /* do not retry */

enum {
	NVME_SUCCESS = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_DATA_TRANSFER_ERROR = 0x004,
	NVME_INTERNAL_ERROR = 0x006,
	NVME_ABORT_REQUESTED = 0x007,
	NVME_ABORTED_SQ_DELETION = 0x008,
	NVME_FAILED_FUSED = 0x009,
	NVME_MISSING_FUSED = 0x00a,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_COMMAND_SEQUENCE_ERROR = 0x00c,
	NVME_SGL_SEGMENT_INVALID = 0x00d,
	NVME_SGL_NUMBER_INVALID = 0x00e,
	NVME_SGL_LENGTH_INVALID = 0x00f,
	NVME_SGL_TYPE_INVALID = 0x011,
	NVME_PRP_OFFSET_INVALID = 0x013,
	NVME_HOST_ID_INCONSISTENT = 0x018,
	NVME_KEEP_ALIVE_EXPIRED = 0x019, /* of the error log alone */
	NVME_KEEP_ALIVE_INVALID = 0x01a,
	NVME_WRITE_PROTECTED = 0x020,
	NVME_LBA_OUT_OF_RANGE = 0x080,
	NVME_CAPACITY_EXCEEDED = 0x081,
	NVME_RESERVATION_CONFLICT = 0x083,
	NVME_FORMAT_IN_PROGRESS = 0x084,

	NVME_CQ_INVALID = 0x100,
	NVME_INVALID_QUEUE_ID = 0x101,
	NVME_INVALID_QUEUE_SIZE = 0x102,
	NVME_ASYNC_EVENT_LIMIT = 0x105,
	NVME_INVALID_VECTOR = 0x108,
	NVME_INVALID_FORMAT = 0x10a,
	NVME_INVALID_QUEUE_DELETION = 0x10c,
	NVME_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_FEATURE_NOT_CHANGEABLE = 0x10e,

	/* Of the NVM command set */
	NVME_COMMAND_SIZE_LIMIT = 0x183,
	NVME_OVERLAPPING_RANGE = 0x187,

	NVME_WRITE_FAULT = 0x280,
	NVME_UNRECOVERED_READ = 0x281,
	NVME_COMPARE_FAILURE = 0x285,

	NVME_ANA_PERSISTENT_LOSS = 0x301,
};

/* Section 4.2 */
struct nvme_command {
	uint8_t opcode;
	uint8_t flags;
	uint16_t cid;
	uint32_t nsid;
	uint32_t cdw2;
	uint32_t cdw3;
	uint64_t mptr;
	uint64_t prp1;
	uint64_t prp2;
	uint32_t cdw10;
	uint32_t cdw11;
	uint32_t cdw12;
	uint32_t cdw13;
	uint32_t cdw14;
	uint32_t cdw15;
};
_Static_assert(sizeof(struct nvme_command) == 64, "section 4.2");

#define NVME_COMMAND_FUSE 0x03 /* of flags */
#define NVME_FUSE_FIRST	  0x01
#define NVME_FUSE_SECOND  0x02
#define NVME_COMMAND_PSDT 0xc0
#define NVME_PSDT_PRP	  0x00
#define NVME_PSDT_SGL	  0x40 /* the metadata pointer is an address */

/* SGLs, section 4.4: the first descriptor is in the command, where the PRPs would be */
struct nvme_sgl_descriptor {
	uint64_t address;
	uint32_t length;
	uint8_t reserved12[3];
	uint8_t id; /* type in bits 7:4, subtype in 3:0 */
};
_Static_assert(sizeof(struct nvme_sgl_descriptor) == 16, "figure 113");

enum {
	NVME_SGL_DATA_BLOCK = 0x00,
	NVME_SGL_BIT_BUCKET = 0x10,
	NVME_SGL_SEGMENT = 0x20,
	NVME_SGL_LAST_SEGMENT = 0x30,
};

/* Section 4.6 */
struct nvme_completion {
	uint32_t result;
	uint32_t reserved;
	uint16_t sq_head;
	uint16_t sqid;
	uint32_t last; /* what makes it valid: command id, phase in bit 16, status from 17 */
};
_Static_assert(sizeof(struct nvme_completion) == 16, "section 4.6");

/* Create I/O queue, section 5.3 and 5.4 */
#define NVME_QUEUE_CONTIGUOUS (1u << 0) /* cdw11 */
#define NVME_CQ_INTERRUPTS    (1u << 1)

/* Read and Write, section 6.9 */
#define NVME_RW_FUA (1u << 30) /* cdw12 */

/* Write Zeroes, section 6.16 */
#define NVME_ZEROES_DEALLOCATE (1u << 25) /* cdw12 */

/* Dataset Management, section 6.7 */
#define NVME_DATASET_RANGES(cdw10) (((cdw10)&0xff) + 1)
#define NVME_DATASET_MAX_RANGES	   256
#define NVME_DATASET_DEALLOCATE	   (1u << 2) /* cdw11 */

struct nvme_dataset_range {
	uint32_t attributes;
	uint32_t blocks;
	uint64_t lba;
};
_Static_assert(sizeof(struct nvme_dataset_range) == 16, "figure 368");

/* Copy, section 3.2.2 of the NVM command set */
#define NVME_COPY_RANGES(cdw12) (((cdw12)&0xff) + 1)
#define NVME_COPY_FORMAT(cdw12) (((cdw12) >> 8) & 15)

struct nvme_copy_range {
	uint8_t reserved0[8];
	uint64_t lba;
	uint16_t blocks; /* 0-based */
	uint8_t reserved18[14];
};
_Static_assert(sizeof(struct nvme_copy_range) == 32, "format 0");

/* Abort, section 5.1 */
#define NVME_ABORT_SQ(cdw10)  ((cdw10)&0xffff)
#define NVME_ABORT_CID(cdw10) ((cdw10) >> 16)
#define NVME_NOT_ABORTED      1 /* result */

/* Format NVM, section 5.23: cdw10 */
#define NVME_FORMAT_LBAF	 0x300fu /* number of the LBA format */
#define NVME_FORMAT_PROTECTION	 0x00e0u
#define NVME_FORMAT_ERASE(cdw10) (((cdw10) >> 9) & 7)
#define NVME_FORMAT_USER_DATA	 1

/* Features, section 5.21.1 */
enum {
	NVME_FEATURE_ARBITRATION = 0x01,
	NVME_FEATURE_POWER = 0x02,
	NVME_FEATURE_TEMPERATURE = 0x04,
	NVME_FEATURE_ERROR_RECOVERY = 0x05,
	NVME_FEATURE_WRITE_CACHE = 0x06,
	NVME_FEATURE_QUEUES = 0x07,
	NVME_FEATURE_COALESCING = 0x08,
	NVME_FEATURE_VECTOR = 0x09,
	NVME_FEATURE_WRITE_ATOMICITY = 0x0a,
	NVME_FEATURE_ASYNC_EVENT = 0x0b,
	NVME_FEATURE_TIMESTAMP = 0x0e,
	NVME_FEATURE_KEEP_ALIVE = 0x0f,
	NVME_FEATURE_HOST_BEHAVIOR = 0x16,
	NVME_FEATURE_HOST_ID = 0x81,
	NVME_FEATURE_NOTIFICATION_MASK = 0x82, /* of reservations */
	NVME_FEATURE_PERSISTENCE = 0x83,       /* of reservations */
};

#define NVME_FEATURE_SAVE	  (1u << 31) /* Set Features, cdw10 */
#define NVME_HOST_ID_EXTENDED	  (1u << 0)  /* cdw11: 128 bits */
#define NVME_HOST_BEHAVIOR_BYTES  512
#define NVME_EVENT_NAMESPACE_MASK (1u << 8) /* feature 0Bh: namespace attribute notices */

/* Log pages, section 5.14.1 */
enum {
	NVME_LOG_SUPPORTED = 0x00, /* 2.0 */
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NAMESPACES = 0x04,
	NVME_LOG_EFFECTS = 0x05,
	NVME_LOG_ANA = 0x0c,
	NVME_LOG_FEATURES = 0x12, /* 2.0 */
	NVME_LOG_RESERVATION = 0x80,
};

#define NVME_LOG_INDEX_OFFSET  (1u << 23) /* cdw14, 2.0: the offset counts entries */

#define NVME_SUPPORTED	       (1u << 0)  /* an entry of pages 00h, 05h and 12h */
#define NVME_EFFECT_CONTENT    (1u << 1)  /* page 05h: blocks may change; 12h: user data */
#define NVME_EFFECT_NAMESPACE  (1u << 2)  /* 05h: what the namespace can do may change */
#define NVME_EFFECT_ALONE      (1u << 16) /* 05h: no other command to the namespace meanwhile */
#define NVME_EFFECT_CAPABILITY (1u << 4)  /* 05h, 12h: what the controller can do may change */
#define NVME_SCOPE_NAMESPACE   (1u << 20) /* 12h */
#define NVME_SCOPE_CONTROLLER  (1u << 21)

struct nvme_effects_log {
	uint32_t admin[256];
	uint32_t io[256];
	uint8_t reserved2048[2048];
};
_Static_assert(sizeof(struct nvme_effects_log) == 4096, "figure 202");

#define NVME_LOG_RAE (1u << 15) /* Get Log Page, cdw10: retain asynchronous event */

struct nvme_error_entry {
	uint64_t count;
	uint16_t sqid;
	uint16_t cid;
	uint16_t status; /* as in the completion: << 1 */
	uint16_t location;
	uint64_t lba;
	uint32_t nsid;
	uint8_t vendor;
	uint8_t transport;
	uint8_t reserved30[2];
	uint64_t specific;
	uint8_t reserved40[24];
};
_Static_assert(sizeof(struct nvme_error_entry) == 64, "figure 196");

#define NVME_ERROR_NO_LOCATION 0xffff
#define NVME_ERROR_NO_COMMAND  0xffff /* nor queue */

struct nvme_uint128 {
	uint64_t low, high;
};

struct nvme_smart_log {
	uint8_t critical_warning;
	uint8_t temperature[2]; /* kelvin */
	uint8_t available_spare;
	uint8_t available_spare_threshold;
	uint8_t percentage_used;
	uint8_t reserved6[26];
	struct nvme_uint128 data_units_read; /* 1000 times 512 bytes, rounded up */
	struct nvme_uint128 data_units_written;
	struct nvme_uint128 host_reads;
	struct nvme_uint128 host_writes;
	struct nvme_uint128 busy_minutes;
	struct nvme_uint128 power_cycles;
	struct nvme_uint128 power_on_hours;
	struct nvme_uint128 unsafe_shutdowns;
	struct nvme_uint128 media_errors;
	struct nvme_uint128 error_log_entries;
	uint8_t reserved192[320];
};
_Static_assert(sizeof(struct nvme_smart_log) == 512, "figure 198");

#define NVME_WARNING_OF_TEMPERATURE (1u << 1) /* critical_warning, and feature 0Bh */

struct nvme_firmware_log {
	uint8_t active;
	uint8_t reserved1[7];
	char revision[7][8];
	uint8_t reserved64[448];
};
_Static_assert(sizeof(struct nvme_firmware_log) == 512, "figure 201");

#define NVME_CHANGED_NAMESPACES_MAX 1024

/* Asymmetric namespace access, section 5.16.1.13 of 2.0 */
#define NVME_ANA_OPTIMIZED	 1
#define NVME_LOG_ANA_GROUPS_ONLY (1u << 8) /* Get Log Page, cdw10: no namespaces */

struct nvme_ana_log {
	uint64_t change_count; /* 0: not reported */
	uint16_t groups;
	uint8_t reserved10[6];
};
_Static_assert(sizeof(struct nvme_ana_log) == 16, "ANA log");

struct nvme_ana_group {
	uint32_t id;
	uint32_t namespaces; /* ids that follow, uint32_t each */
	uint64_t change_count;
	uint8_t state;
	uint8_t reserved17[15];
};
_Static_assert(sizeof(struct nvme_ana_group) == 32, "ANA group descriptor");

/* Asynchronous events, section 5.2 */
enum {
	NVME_EVENT_TYPE_ERROR = 0,
	NVME_EVENT_TYPE_SMART = 1,
	NVME_EVENT_TYPE_NOTICE = 2,
	NVME_EVENT_TYPE_COMMAND_SET = 6,
};

enum {
	NVME_EVENT_INVALID_DOORBELL_REGISTER = 0,
	NVME_EVENT_INVALID_DOORBELL_VALUE = 1,
	NVME_EVENT_TEMPERATURE_THRESHOLD = 1,
	NVME_EVENT_NAMESPACE_CHANGED = 0,
	NVME_EVENT_RESERVATION_LOG = 0,
};

/* Identify, section 5.15.2 */
enum {
	NVME_CNS_NAMESPACE = 0x00,
	NVME_CNS_CONTROLLER = 0x01,
	NVME_CNS_ACTIVE_LIST = 0x02,
	NVME_CNS_DESCRIPTORS = 0x03,
	NVME_CNS_NVM_NAMESPACE = 0x05, /* from here on 2.0, of a command set */
	NVME_CNS_NVM_CONTROLLER = 0x06,
	NVME_CNS_NVM_ACTIVE_LIST = 0x07,
	NVME_CNS_INDEPENDENT_NAMESPACE = 0x08,
	NVME_CNS_ALLOCATED_LIST = 0x10,
	NVME_CNS_ALLOCATED_NAMESPACE = 0x11,
	NVME_CNS_ATTACHED_CONTROLLERS = 0x12,
	NVME_CNS_CONTROLLERS = 0x13,
	NVME_CNS_COMMAND_SETS = 0x1c,
};

#define NVME_IDENTIFY_CNS(cdw10)   ((cdw10)&0xff)
#define NVME_IDENTIFY_CNTID(cdw10) ((cdw10) >> 16)
#define NVME_IDENTIFY_CSI(cdw11)   ((cdw11) >> 24)
#define NVME_CNTID_SELF		   0xffff

/* 2.0, base specification: what every command set's namespaces have */
struct nvme_identify_independent {
	uint8_t nsfeat;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	uint32_t anagrpid;
	uint8_t nsattr;
	uint8_t reserved9;
	uint16_t nvmsetid;
	uint16_t endgid;
	uint8_t nstat;
	uint8_t reserved15[4081];
};
_Static_assert(sizeof(struct nvme_identify_independent) == 4096, "figure 280 of 2.0");

#define NVME_NSTAT_READY (1u << 0)

struct nvme_power_state {
	uint16_t max_power; /* centiwatts */
	uint8_t reserved2[2];
	uint32_t entry_latency; /* us */
	uint32_t exit_latency;
	uint8_t reserved12[20];
};
_Static_assert(sizeof(struct nvme_power_state) == 32, "figure 252");

struct nvme_identify_controller {
	uint16_t vid;
	uint16_t ssvid;
	char sn[20];
	char mn[40];
	char fr[8];
	uint8_t rab;
	uint8_t ieee[3];
	uint8_t cmic;
	uint8_t mdts;
	uint16_t cntlid;
	uint32_t ver;
	uint32_t rtd3r;
	uint32_t rtd3e;
	uint32_t oaes;
	uint32_t ctratt;
	uint8_t reserved100[11];
	uint8_t cntrltype;
	uint8_t fguid[16];
	uint8_t reserved128[128];
	uint16_t oacs;
	uint8_t acl;
	uint8_t aerl;
	uint8_t frmw;
	uint8_t lpa;
	uint8_t elpe;
	uint8_t npss;
	uint8_t avscc;
	uint8_t apsta;
	uint16_t wctemp;
	uint16_t cctemp;
	uint8_t reserved270[50];
	uint16_t kas; /* Keep Alive: granularity in 100 ms; 0: none */
	uint8_t reserved322[20];
	uint8_t anatt; /* seconds */
	uint8_t anacap;
	uint32_t anagrpmax;
	uint32_t nanagrpid;
	uint8_t reserved352[160];
	uint8_t sqes;
	uint8_t cqes;
	uint16_t maxcmd;
	uint32_t nn;
	uint16_t oncs;
	uint16_t fuses;
	uint8_t fna;
	uint8_t vwc;
	uint16_t awun;
	uint16_t awupf;
	uint8_t nvscc;
	uint8_t nwpc;
	uint16_t acwu;
	uint16_t ocfs; /* 2.0: bits, formats of Copy's ranges */
	uint32_t sgls;
	uint32_t mnan;
	uint8_t reserved544[224];
	char subnqn[256];
	uint8_t reserved1024[1024];
	struct nvme_power_state psd[32];
	uint8_t vendor[1024];
};
_Static_assert(sizeof(struct nvme_identify_controller) == 4096, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, cntrltype) == 111, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, oacs) == 256, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, anatt) == 342, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, sqes) == 512, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, subnqn) == 768, "figure 251");
_Static_assert(offsetof(struct nvme_identify_controller, psd) == 2048, "figure 251");

#define NVME_CMIC_CONTROLLERS	   (1u << 1) /* the subsystem may have several */
#define NVME_CMIC_ANA		   (1u << 3)
#define NVME_ANACAP_OPTIMIZED	   (1u << 0)
#define NVME_ANACAP_LOSS	   (1u << 3)
#define NVME_ANACAP_GROUP_STAYS	   (1u << 6) /* while it is attached */
#define NVME_OACS_FORMAT	   (1u << 1)
#define NVME_FNA_NOT_ALL	   (1u << 3) /* 2.0: not all namespaces at once */
#define NVME_OACS_DOORBELL_BUFFER  (1u << 8)
#define NVME_OAES_NAMESPACE	   (1u << 8)
#define NVME_CNTRLTYPE_IO	   1
#define NVME_LPA_EFFECTS	   (1u << 1)
#define NVME_LPA_EXTENDED	   (1u << 2) /* length and offset of Get Log Page in full */
#define NVME_LPA_SUPPORTED	   (1u << 5) /* 2.0: pages 00h and 12h */
#define NVME_FRMW_SLOT1_READ_ONLY  (1u << 0)
#define NVME_FRMW_SLOTS(n)	   ((n) << 1)
#define NVME_ONCS_COMPARE	   (1u << 0)
#define NVME_ONCS_UNCORRECTABLE	   (1u << 1)
#define NVME_ONCS_DATASET	   (1u << 2)
#define NVME_ONCS_WRITE_ZEROES	   (1u << 3)
#define NVME_ONCS_SAVE_SELECT	   (1u << 4)
#define NVME_ONCS_RESERVATIONS	   (1u << 5)
#define NVME_ONCS_TIMESTAMP	   (1u << 6)
#define NVME_ONCS_VERIFY	   (1u << 7)
#define NVME_ONCS_COPY		   (1u << 8) /* 2.0 */
#define NVME_FUSES_COMPARE_WRITE   (1u << 0)
#define NVME_CTRATT_HOST_ID	   (1u << 0) /* of 128 bits */
#define NVME_CTRATT_TBKAS	   (1u << 6) /* keep alive by traffic */
#define NVME_SGLS_SUPPORTED	   (1u << 0) /* of any address and length */
#define NVME_SGLS_BIT_BUCKET	   (1u << 16)
#define NVME_SGLS_EXCESS	   (1u << 18) /* may describe more than the data */
#define NVME_VWC_PRESENT	   (1u << 0)
#define NVME_VWC_FLUSH_ALL_REFUSED (2u << 1)

struct nvme_lba_format {
	uint16_t metadata_size;
	uint8_t data_shift;
	uint8_t performance;
};

struct nvme_identify_namespace {
	uint64_t nsze;
	uint64_t ncap;
	uint64_t nuse;
	uint8_t nsfeat;
	uint8_t nlbaf; /* 0-based */
	uint8_t flbas;
	uint8_t mc;
	uint8_t dpc;
	uint8_t dps;
	uint8_t nmic;
	uint8_t rescap;
	uint8_t fpi;
	uint8_t dlfeat;
	uint16_t nawun;
	uint16_t nawupf;
	uint16_t nacwu;
	uint16_t nabsn;
	uint16_t nabo;
	uint16_t nabspf;
	uint16_t noiob;
	uint8_t nvmcap[16];
	uint16_t npwg; /* 0-based, as those below */
	uint16_t npwa;
	uint16_t npdg;
	uint16_t npda;
	uint16_t nows;
	uint16_t mssrl;
	uint32_t mcl;
	uint8_t msrc;
	uint8_t reserved81[11];
	uint32_t anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;
	uint8_t reserved100[4];
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lba_format lbaf[16];
	uint8_t reserved192[3904];
};
_Static_assert(sizeof(struct nvme_identify_namespace) == 4096, "figure 249");
_Static_assert(offsetof(struct nvme_identify_namespace, npwg) == 64, "figure 249");
_Static_assert(offsetof(struct nvme_identify_namespace, anagrpid) == 92, "figure 249");
_Static_assert(offsetof(struct nvme_identify_namespace, nsattr) == 99, "figure 249");
_Static_assert(offsetof(struct nvme_identify_namespace, nguid) == 104, "figure 249");
_Static_assert(offsetof(struct nvme_identify_namespace, lbaf) == 128, "figure 249");

#define NVME_NMIC_SHARED	    (1u << 0)
#define NVME_FPI_SUPPORTED	    (1u << 7) /* bits 6:0: percent left of a format */
#define NVME_NSATTR_WRITE_PROTECTED (1u << 0)
#define NVME_NSFEAT_OPTIMAL	    (1u << 4) /* NPWG, NPWA, NPDG, NPDA and NOWS are there */
#define NVME_DLFEAT_ZEROES	    1	      /* deallocated blocks read as zeroes */
#define NVME_DLFEAT_WRITE_ZEROES    (1u << 3) /* Write Zeroes may deallocate */

/* Reservations, sections 6.10 to 6.13 and 8.8 */
enum {
	NVME_RESERVATION_WRITE = 1,
	NVME_RESERVATION_ACCESS = 2,
	NVME_RESERVATION_WRITE_REGISTERED = 3,
	NVME_RESERVATION_ACCESS_REGISTERED = 4,
	NVME_RESERVATION_WRITE_ALL = 5,
	NVME_RESERVATION_ACCESS_ALL = 6,
};

enum {
	NVME_REGISTER = 0,
	NVME_UNREGISTER = 1,
	NVME_REPLACE_KEY = 2,
};

enum {
	NVME_ACQUIRE = 0,
	NVME_PREEMPT = 1,
	NVME_PREEMPT_AND_ABORT = 2,
};

enum {
	NVME_RELEASE = 0,
	NVME_CLEAR_ALL = 1,
};

#define NVME_RESCAP_PERSIST	       (1u << 0)
#define NVME_RESCAP_ALL_TYPES	       (63u << 1)
#define NVME_RESCAP_IEKEY	       (1u << 7) /* as 1.3 and later have it */
#define NVME_RESERVATION_ACTION(cdw10) ((cdw10)&7)
#define NVME_RESERVATION_IEKEY	       (1u << 3)
#define NVME_RESERVATION_TYPE(cdw10)   (((cdw10) >> 8) & 0xff)
#define NVME_RESERVATION_CPTPL(cdw10)  ((cdw10) >> 30) /* of Register */
#define NVME_CPTPL_CLEAR	       2
#define NVME_CPTPL_PERSIST	       3
#define NVME_RESERVATION_EXTENDED      (1u << 0) /* Report, cdw11: with ids of 128 bits */
#define NVME_RESERVATION_HOLDS	       (1u << 0)
#define NVME_CNTLID_NONE	       0xffff

/* Notifications: the log page's types, and the bits that mask them in feature 82h */
enum {
	NVME_NOTICE_REGISTRATION_PREEMPTED = 1,
	NVME_NOTICE_RESERVATION_RELEASED = 2,
	NVME_NOTICE_RESERVATION_PREEMPTED = 3,
};

#define NVME_NOTICE_MASKS     0xeu /* 1 << the type */
#define NVME_PERSISTENCE_PTPL (1u << 0)

struct nvme_reservation_log {
	uint64_t count; /* 0: there was none */
	uint8_t type;
	uint8_t available; /* more of them */
	uint8_t reserved10[2];
	uint32_t nsid;
	uint8_t reserved16[48];
};
_Static_assert(sizeof(struct nvme_reservation_log) == 64, "Reservation Notification");

struct nvme_reservation_report {
	uint32_t generation;
	uint8_t type;
	uint8_t controllers[2]; /* uint16_t */
	uint8_t reserved7[2];
	uint8_t ptpls;
	uint8_t reserved10[14];
};
_Static_assert(sizeof(struct nvme_reservation_report) == 24, "Reservation Status");

struct nvme_reservation_reported {
	uint16_t cntlid;
	uint8_t status;
	uint8_t reserved3[5];
	uint64_t host_id;
	uint64_t key;
};
_Static_assert(sizeof(struct nvme_reservation_reported) == 24, "Registered Controller");

struct nvme_reservation_reported_extended {
	uint16_t cntlid;
	uint8_t status;
	uint8_t reserved3[5];
	uint64_t key;
	uint8_t host_id[16];
	uint8_t reserved32[32];
};
_Static_assert(sizeof(struct nvme_reservation_reported_extended) == 64,
	       "Registered Controller Extended");

/* Namespace identification descriptors, figure 253 */
enum {
	NVME_NIDT_EUI64 = 1,
	NVME_NIDT_NGUID = 2,
	NVME_NIDT_UUID = 3,
	NVME_NIDT_COMMAND_SET = 4, /* 2.0 */
};

#endif
