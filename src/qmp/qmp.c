// SPDX-License-Identifier: LGPL-2.1-or-later
#include "qmp/qmp.h"

#include <errno.h>

#include "base/i18n.h"

/* The text of a command; @arguments is borrowed and may be NULL. */
static char *qmp_command(const char *command, struct json_object *arguments)
{
	_cleanup_json_ struct json_object *object = json_object_new_object();

	json_add_string(object, "execute", command);
	if (arguments)
		json_add(object, "arguments", json_object_get(arguments));
	return strdup(json_text(object));
}

int qmp_parse_answer(const char *answer, struct json_object **ret, struct error **errp)
{
	_cleanup_json_ struct json_object *object = NULL;
	struct json_object *failure, *value;

	object = json_parse(answer, strlen(answer), errp);
	if (!object) {
		error_prefix(errp, "QEMU's answer");
		return -EPROTO;
	}
	failure = json_child(object, "error", json_type_object);
	if (failure)
		return error_set(errp, EREMOTEIO, _("QEMU says: %s"),
				 json_string_or(failure, "desc", "error without a description"));
	if (!json_object_is_type(object, json_type_object) ||
	    !json_object_object_get_ex(object, "return", &value))
		return error_set(errp, EPROTO,
				 "QEMU's answer has neither \"return\" nor \"error\"");
	if (ret)
		*ret = json_object_get(value);
	return 0;
}

int qmp_execute(const struct qmp_transport *qmp, const char *command, struct json_object *arguments,
		struct json_object **ret, struct error **errp)
{
	_cleanup_json_ struct json_object *owned = arguments;
	_cleanup_free_ char *text = qmp_command(command, owned);
	_cleanup_free_ char *answer = NULL;
	int r;

	if (!text)
		return error_set_errno(errp, ENOMEM, "%s", command);
	r = qmp->execute(qmp->opaque, text, &answer, errp);
	if (r < 0)
		return r;
	return qmp_parse_answer(answer, ret, errp);
}
