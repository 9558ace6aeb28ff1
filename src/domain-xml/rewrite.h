/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_REWRITE_H
#define DOMAIN_XML_REWRITE_H

#include "base/error.h"
#include "domain-xml/metadata.h"

/*
 * The rewrite: XML in, XML out, nothing else. What it adds to a domain with controllers of ours,
 * and what takes it back. See rewrite.c for the theory.
 */

/* What the rewrite changed outside its block (memory backing, boot order) is recorded in an element
 * of its own in <metadata>, where `virsh metadata --set` of the user's element does not lose it.
 * Not for anybody else: the event of a change of it is to be ignored. */
#define REWRITE_RECORD_NAMESPACE "urn:virtnvme:rewrite:1"

/* Ids in QEMU. Controllers: attach_device_id(). */
#define REWRITE_VMSTATE_OBJECT	"virtnvme-vmstate"
#define REWRITE_MONITOR_OBJECT	"virtnvme-monitor"
#define REWRITE_MONITOR_CHARDEV "virtnvme-qmp"
#define REWRITE_PORT		"virtnvme-port%u"
#define REWRITE_ID_PREFIX	"virtnvme-" /* of everything of ours in <qemu:commandline> */

/* The D-Bus ids of the migration state, "virtnvme-00" to "virtnvme-15". ABI between hosts: QEMU
 * demands all of them on both ends. */
#define REWRITE_VMSTATE_IDS	   16
#define REWRITE_VMSTATE_ID	   "virtnvme-%02u"

#define REWRITE_MESSAGE_TIMEOUT_MS 120000
#define REWRITE_SPARE_PORTS	   2 /* of a q35 domain, for controllers that come later */

enum rewrite_mode {
	/* The persistent configuration: what is live is stripped, parked controllers are gone. */
	REWRITE_CONFIG,
	/* A domain that comes from elsewhere (`migrate begin`, `restore begin`): memory and boot
	 * order are the other side's business; the block is made again for this host's QEMU, with
	 * controllers, parked ones included, exactly where the live record says they are, and the
	 * record is completed (arrival.h). */
	REWRITE_INCOMING,
};

struct rewrite_options {
	enum rewrite_mode mode;
	const char *runtime_dir; /* NULL: VIRTNVME_RUNTIME_DIR */
	const char *uuid;	 /* for an XML without <uuid>, which is then added; may be NULL */
	bool has_monitor_object; /* QEMU has monitor-qmp objects (else -mon) */
	bool has_slirp_helper;	 /* the host has it: <interface type="user"> is refused */
	unsigned message_timeout_ms; /* 0: REWRITE_MESSAGE_TIMEOUT_MS */
};

/**
 * domain_xml_rewrite() - make a domain what its metadata asks for
 * @options: NULL: all zeroes
 * @ret_xml: malloc()ed, with NUL; identical to @xml when nothing changed
 * @ret_changed: whether anything that has a meaning changed; may be NULL
 *
 * Idempotent. A domain without our metadata loses a block of ours that it still has, and is
 * otherwise untouched.
 *
 * Return: 0, -EINVAL (malformed or refused), -E2BIG or -ENOMEM with a sentence.
 */
int domain_xml_rewrite(const char *xml, size_t len, const struct rewrite_options *options,
		       char **ret_xml, bool *ret_changed, struct error **errp);

/**
 * domain_xml_unmanage() - take all of it back
 *
 * The block goes; memory backing and boot order go back to what they were where the record says the
 * rewrite changed them and nobody has since; the record goes. The user's own <devices> element
 * stays only with @keep_metadata.
 */
int domain_xml_unmanage(const char *xml, size_t len, bool keep_metadata, char **ret_xml,
			bool *ret_changed, struct error **errp);

/*
 * For the hook `prepare begin`.
 */
enum domain_xml_block {
	DOMAIN_XML_BLOCK_OK,	  /* what the rewrite would make */
	DOMAIN_XML_BLOCK_ABSENT,  /* controllers, but no block: not rewritten yet */
	DOMAIN_XML_BLOCK_FOREIGN, /* it names sockets of another domain: a copied XML */
	DOMAIN_XML_BLOCK_STALE,	  /* it differs otherwise */
	DOMAIN_XML_BLOCK_NONE,	  /* no controllers and no block: not ours */
};

struct domain_xml_check {
	enum domain_xml_block block;
	bool memory_shared;
	bool boots_from_ours; /* a disk of ours has a <boot order>, or there is nothing else to boot
			       * from: attaching after the start would be too late */
	bool can_attach;      /* ABSENT: each controller has a free place on the PCI bus, as
			       * attach_plan() will look for it when the domain runs */
	char *detail;	      /* what differs, for a sentence or the log; may be NULL */
};

/**
 * domain_xml_check_block() - compare the whole block of the XML with the one computed for its UUID
 * @options: mode is ignored: a block as either mode makes it is OK
 *
 * Return: 0 (look at @ret, whose detail the caller frees), or -errno with a sentence when the XML
 * is malformed or refused.
 */
int domain_xml_check_block(const char *xml, size_t len, const struct rewrite_options *options,
			   struct domain_xml_check *ret, struct error **errp);
void domain_xml_check_clear(struct domain_xml_check *check);

#endif
