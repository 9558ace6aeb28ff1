// SPDX-License-Identifier: LGPL-2.1-or-later
#include "daemon/hooks.h"

#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/capabilities.h"
#include "daemon/domain.h"
#include "daemon/hugepages.h"
#include "daemon/incoming.h"
#include "daemon/keeper-config.h"
#include "daemon/keeper.h"
#include "daemon/libvirt.h"
#include "daemon/probe.h"
#include "daemon/reconcile.h"
#include "domain-xml/domain.h"

/*
 * Theory of operation
 *
 * libvirtd runs its hooks with the domain locked and waits for ever. Everything here is answered
 * from the XML that came with the request, from the table of domains (a lock that is never held
 * over a blocking call), from storage calls with a time limit, and from the keeper. `struct
 * domain.work` is not taken: whoever holds it may be waiting for the very lock libvirtd holds.
 *
 *   prepare  the block is what the rewrite makes of this domain: start its keeper. No block yet,
 *            but a guest we can attach to later, with a place for each controller: the same; they
 *            follow when libvirt says STARTED. Else refuse.
 *   start    the domain's DAC label exists only now: hand the sockets to QEMU's user.
 *   stopped, release  the keeper goes, at once and not when it notices.
 *   migrate, restore  filters: make the block right for this host. The `prepare` that follows is
 *            that of a guest that arrives: with its controllers and disks as they were or not at
 *            all, and its keeper waits for its state.
 */

#define EVENT_WAIT_MS 300
#define EVENT_POLL_MS 10

struct hook {
	const char *name, *operation, *xml;
	struct domain_xml_info *info;
	struct domain *domain;
	bool incoming; /* `prepare` only */
};

/* The event of a definition may be on its way when the start that follows it is here already. */
static bool wait_persistent(const struct hook *hook)
{
	unsigned waited;

	for (waited = 0; waited < EVENT_WAIT_MS; waited += EVENT_POLL_MS) {
		if (domain_is_persistent(hook->domain))
			return true;
		usleep(EVENT_POLL_MS * 1000);
	}
	return false;
}

static int judge_block(struct hook *hook, const struct rewrite_options *options,
		       const struct metadata *metadata, struct error **errp)
{
	struct domain_xml_check check = {};
	int r;

	r = domain_xml_check_block(hook->xml, strlen(hook->xml), options, &check, errp);
	if (r < 0)
		return r;
	if (check.detail)
		log_info("%s: %s", hook->name, check.detail);
	/* What the filter has let through has a record. So the guest that was to arrive has not come
	 * so far, and this is another start. */
	if (hook->incoming && check.block == DOMAIN_XML_BLOCK_OK && !metadata_has_live(metadata))
		hook->incoming = false;
	if (hook->incoming && check.block == DOMAIN_XML_BLOCK_ABSENT)
		check.block = DOMAIN_XML_BLOCK_STALE;
	switch (check.block) {
	case DOMAIN_XML_BLOCK_OK:
		if (!check.memory_shared)
			r = error_set(errp, EINVAL,
				      _("the guest's memory is not shared although its NVMe disks "
					"need it (%s); define the domain again"),
				      hook->info->memory_why ? hook->info->memory_why : "");
		break;
	case DOMAIN_XML_BLOCK_NONE:
		break;
	case DOMAIN_XML_BLOCK_FOREIGN:
		r = error_set(errp, EPERM,
			      _("its <qemu:commandline> names sockets of another domain; define it "
				"again with: virt-nvme define FILE"));
		break;
	case DOMAIN_XML_BLOCK_ABSENT:
		if (check.memory_shared && !check.boots_from_ours && check.can_attach)
			break; /* attached when it runs */
		fallthrough;
	case DOMAIN_XML_BLOCK_STALE:
		if (hook->incoming) {
			r = error_set(errp, EINVAL,
				      _("its <qemu:commandline> is not what a guest with these "
					"NVMe disks arrives with"));
		} else if (wait_persistent(hook)) {
			reconcile_request(hook->domain->uuid);
			r = error_set(errp, EAGAIN,
				      _("its definition has just been changed and is being "
					"prepared; start it again"));
		} else {
			r = error_set(errp, EAGAIN,
				      _("it is not prepared for its NVMe disks; define it with: "
					"virt-nvme define FILE"));
		}
		break;
	}
	domain_xml_check_clear(&check);
	return r;
}

static void find_owner(const struct hook *hook, uid_t *ret_uid, gid_t *ret_gid)
{
	*ret_uid = 0;
	*ret_gid = 0;
	if (hook->info->dac_label &&
	    capabilities_dac_label(hook->info->dac_label, ret_uid, ret_gid) == 0)
		return;
	libvirt_owner(ret_uid, ret_gid);
}

/* One that has outlived its QEMU is in the way; one that serves a QEMU is not ours to stop. */
static int clear_old_keeper(const struct hook *hook, struct error **errp)
{
	_cleanup_json_ struct json_object *status = NULL;
	struct json_object *qemu;

	if (keeper_call(hook->domain->uuid, "status", NULL, &status, NULL) < 0)
		return 0;
	qemu = json_child(status, "qemu", json_type_object);
	if (json_bool_or(qemu, "connected", false))
		return error_set(errp, EBUSY,
				 _("a QEMU (process %llu) still uses its disks; end it first"),
				 (unsigned long long)json_u64_or(qemu, "pid", 0));
	return keeper_stop(hook->domain->uuid, errp);
}

static int prepare(struct hook *hook, struct error **errp)
{
	struct keeper_config_domain config_domain = {
		.uuid = hook->domain->uuid,
		.name = hook->name,
	};
	_cleanup_metadata_ struct metadata *metadata = NULL;
	_cleanup_json_ struct json_object *config = NULL;
	struct rewrite_options options;
	struct source_list sources = {};
	int r;

	r = metadata_parse_domain(hook->xml, strlen(hook->xml), &metadata, errp);
	if (r == 0)
		r = probe_rewrite_options(hook->xml, metadata->controller_count, &options, errp);
	if (r == 0)
		r = judge_block(hook, &options, metadata, errp);
	if (r < 0 || !metadata->controller_count)
		return r;
	r = hugepages_check(hook->info, errp);
	if (r == 0 && hook->incoming)
		r = incoming_metadata(hook->xml, metadata, errp);
	if (r < 0)
		return r;

	domain_starting(hook->domain);
	config_domain.incoming = hook->incoming;
	find_owner(hook, &config_domain.uid, &config_domain.gid);
	config = keeper_config(&config_domain, metadata, &sources, errp);
	if (!config)
		r = -EINVAL;
	if (r == 0)
		r = domain_claim(hook->domain, hook->name, &sources, errp);
	if (r == 0)
		r = clear_old_keeper(hook, errp);
	if (r == 0) {
		r = keeper_start(hook->name, config, errp);
		if (r < 0)
			domain_release(hook->domain);
	}
	source_list_clear(&sources);
	return r;
}

static int start(const struct hook *hook)
{
	uid_t uid;
	gid_t gid;
	int r;

	find_owner(hook, &uid, &gid);
	r = keeper_own_sockets(hook->domain->uuid, uid, gid);
	if (r < 0 && r != -ENOENT)
		log_warning("%s: sockets: %s", hook->name, strerror(-r));
	return 0;
}

static int stop(const struct hook *hook)
{
	_cleanup_error_ struct error *err = NULL;

	domain_take_incoming(hook->domain);
	if (keeper_stop(hook->domain->uuid, &err) < 0)
		log_warning("%s: %s", hook->name, error_message(err));
	domain_release(hook->domain);
	return 0;
}

static int filter(const struct hook *hook, struct json_object **ret_result, struct error **errp)
{
	struct rewrite_options options;
	_cleanup_free_ char *xml = NULL;
	bool changed;
	int r;

	r = probe_rewrite_options(hook->xml, true, &options, errp);
	if (r < 0)
		return r;
	options.mode = REWRITE_INCOMING;
	r = domain_xml_rewrite(hook->xml, strlen(hook->xml), &options, &xml, &changed, errp);
	if (r < 0)
		return r;
	if (changed)
		json_add_string(*ret_result, "xml", xml);
	domain_expect_incoming(hook->domain);
	return 0;
}

static int answer(struct hook *hook, struct json_object **ret_result, struct error **errp)
{
	if (string_equal(hook->operation, "prepare")) {
		hook->incoming = domain_take_incoming(hook->domain);
		return prepare(hook, errp);
	}
	if (string_equal(hook->operation, "start"))
		return start(hook);
	if (string_equal(hook->operation, "stopped") || string_equal(hook->operation, "release"))
		return stop(hook);
	if (string_equal(hook->operation, "migrate") || string_equal(hook->operation, "restore"))
		return filter(hook, ret_result, errp);
	return 0; /* reconnect: a failure would kill the guest */
}

int hooks_answer(struct json_object *arguments, struct json_object **ret_result,
		 struct error **errp)
{
	struct hook hook = {
		.name = json_string_or(arguments, "domain", ""),
		.operation = json_string_or(arguments, "operation", ""),
		.xml = json_string_or(arguments, "xml", ""),
	};
	int r;

	*ret_result = json_object_new_object();
	if (!domain_xml_is_ours(hook.xml, strlen(hook.xml)))
		return 0;
	r = domain_xml_info(hook.xml, strlen(hook.xml), &hook.info, errp);
	if (r < 0)
		return r;
	hook.domain = domain_get(hook.info->uuid);
	if (!hook.domain)
		r = error_set_errno(errp, ENOMEM, "%s", hook.name);
	else
		r = answer(&hook, ret_result, errp);
	if (r < 0 && errp)
		error_prefix(errp, _("domain '%s'"), hook.name);
	domain_put(hook.domain);
	domain_xml_info_free(hook.info);
	return r;
}
