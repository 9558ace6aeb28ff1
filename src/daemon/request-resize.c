// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>

#include "base/i18n.h"
#include "base/log.h"
#include "daemon/definition.h"
#include "daemon/live.h"
#include "daemon/request.h"
#include "daemon/requests.h"
#include "daemon/resize.h"

struct request {
	struct request_domain target;
	struct metadata *metadata;
	struct resize resize;
};

static void request_clear(struct request *request)
{
	resize_close(&request->resize);
	metadata_free(request->metadata);
	request_domain_close(&request->target);
}

static int find_disk(struct request *request, unsigned index, unsigned nsid, struct error **errp)
{
	struct request_domain *target = &request->target;

	request->metadata = target->active ? live_metadata(target->domain, target->dom, errp)
					   : definition_metadata(target->dom, errp);
	if (!request->metadata)
		return -EIO;
	request->resize = (struct resize){
		.domain = target->domain,
		.active = target->active,
		.metadata = request->metadata,
		.disk = metadata_disk(request->metadata, index, nsid),
	};
	if (!request->resize.disk)
		return error_set(errp, ENOENT, _("the domain has no disk nvme%un%u"), index, nsid);
	return resize_open(&request->resize, errp);
}

/* So that nobody reads another size there. It is a record: what counts is the image. */
static void record_capacity(struct request *request, unsigned index, unsigned nsid,
			    uint64_t capacity)
{
	struct metadata_disk *disk = metadata_disk(request->metadata, index, nsid);
	struct request_domain *target = &request->target;
	_cleanup_metadata_ struct metadata *wish = NULL;
	_cleanup_error_ struct error *err = NULL;

	if (!disk->capacity || disk->capacity == capacity)
		return;
	wish = metadata_copy(request->metadata);
	if (!wish)
		return;
	metadata_disk(wish, index, nsid)->capacity = capacity;
	if (live_change(target->domain, target->dom, steal_pointer(wish), &err) < 0)
		log_warning("%s: the new size is not in the live metadata: %s",
			    request->resize.path, error_message(err));
}

/* What the definition asks for, should the image have to be created again. */
static int remember_capacity(struct request_domain *target, const struct metadata_disk *resized,
			     unsigned index, unsigned nsid, uint64_t capacity, struct error **errp)
{
	_cleanup_metadata_ struct metadata *metadata = NULL;
	struct metadata_disk *disk;

	if (!target->persistent)
		return 0;
	metadata = definition_metadata(target->dom, errp);
	if (!metadata)
		return -EIO;
	disk = metadata_disk(metadata, index, nsid);
	if (!disk || !disk->capacity || disk->capacity == capacity || disk->type != resized->type ||
	    !metadata_same_source(disk, resized))
		return 0;
	disk->capacity = capacity;
	return definition_set_metadata(target->domain, target->dom, metadata, errp);
}

static int execute(struct request *request, struct json_object *arguments, uint64_t *ret_capacity,
		   struct error **errp)
{
	uint64_t capacity = json_u64_or(arguments, "capacity", 0);
	struct request_domain *target = &request->target;
	struct resize *resize = &request->resize;
	unsigned index, nsid;
	int r;

	r = metadata_parse_target(json_string_or(arguments, "target", ""), &index, &nsid, errp);
	if (r == 0)
		r = request_domain_open(target, json_string_or(arguments, "domain", ""), errp);
	if (r == 0 && target->active)
		r = live_check_idle(target->domain, target->dom, errp);
	if (r == 0)
		r = find_disk(request, index, nsid, errp);
	if (r == 0)
		r = resize_image(resize, capacity, json_bool_or(arguments, "force", false), errp);
	if (r < 0)
		return r;
	*ret_capacity = capacity ? capacity : resize->size;
	if (target->active) {
		r = resize_tell(resize, errp);
		if (r < 0) {
			error_prefix(errp, _("%s has its new size, but the guest was not told"),
				     resize->path);
			return r;
		}
		record_capacity(request, index, nsid, *ret_capacity);
	}
	return remember_capacity(target, resize->disk, index, nsid, *ret_capacity, errp);
}

int request_resize(struct json_object *arguments, struct json_object **ret_result,
		   struct error **errp)
{
	struct request request = {};
	uint64_t capacity;
	int r;

	r = execute(&request, arguments, &capacity, errp);
	request_clear(&request);
	if (r < 0)
		return r;
	*ret_result = json_object_new_object();
	json_add_u64(*ret_result, "capacity", capacity);
	return 0;
}
