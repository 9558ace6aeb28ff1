/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef DOMAIN_XML_DOMAIN_H
#define DOMAIN_XML_DOMAIN_H

#include <sys/types.h>

#include "base/error.h"

/*
 * What else we have to know of a domain's XML.
 */

enum domain_xml_machine {
	DOMAIN_XML_OTHER, /* no place for our controllers: refused */
	DOMAIN_XML_Q35,
	DOMAIN_XML_PC, /* i440fx */
};

enum domain_xml_memory_source {
	DOMAIN_XML_MEMORY_ANONYMOUS,
	DOMAIN_XML_MEMORY_FILE,
	DOMAIN_XML_MEMORY_MEMFD,
};

struct domain_xml_info {
	char *name;
	char uuid[37];	    /* lower case; empty when the XML has none */
	char *type;	    /* "kvm", "qemu" */
	char *arch;	    /* NULL when the XML has none */
	char *machine_name; /* as written; NULL when the XML has none */
	enum domain_xml_machine machine;
	char *emulator;	 /* path; NULL: libvirt's default */
	unsigned vcpus;	 /* at most; 1 when not given */
	uint64_t memory; /* bytes, at most */

	/* Guest memory. memory_shared: all of it can be mapped by another process, that is: fd
	 * backed and share=on. Else memory_why is the sentence's middle part: "cell[1] has
	 * memAccess="private"". */
	bool memory_shared;
	char *memory_why;
	enum domain_xml_memory_source memory_source;
	bool hugepages;
	uint64_t hugepage_size; /* bytes; 0: the host's default */

	/* <seclabel model="dac">: who QEMU runs as. dac_label is "+64055:+64055" or "user:group",
	 * NULL when the XML has none; dac_uid and dac_gid only where it is numeric. */
	char *dac_label;
	bool dac_numeric;
	uid_t dac_uid;
	gid_t dac_gid;

	bool boots_by_device;	 /* a <boot order> of libvirt's devices */
	bool has_user_interface; /* <interface type="user"> without passt: slirp, where the host has
				  * the helper slirp-helper, and that takes the one dbus-vmstate */
	bool has_foreign_vmstate; /* a dbus-vmstate object in the user's own <qemu:arg> */
	bool has_iommu;
};

/**
 * domain_xml_is_ours() - can this domain concern us?
 *
 * Looks for the namespace and for our ids as text, so that any other domain costs nothing. True for
 * a domain with our metadata, and for one that has only our block left.
 */
bool domain_xml_is_ours(const char *xml, size_t len);

/**
 * domain_xml_info() - read the document
 * @ret: the caller's, domain_xml_info_free()
 *
 * Return: 0, -EINVAL, -E2BIG (over METADATA_MAX_XML) or -ENOMEM with a sentence.
 */
int domain_xml_info(const char *xml, size_t len, struct domain_xml_info **ret, struct error **errp);
void domain_xml_info_free(struct domain_xml_info *info);

static inline void cleanup_domain_xml_info(struct domain_xml_info **info)
{
	domain_xml_info_free(*info);
}

#define _cleanup_domain_xml_info_ _cleanup_(cleanup_domain_xml_info)

#endif
