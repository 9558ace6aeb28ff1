// SPDX-License-Identifier: LGPL-2.1-or-later
#include <errno.h>
#include <stdio.h>

#include "daemon/capabilities.h"
#include "daemon/domain.h"
#include "tests/unit/test.h"

#define A "11111111-1111-1111-1111-111111111111"
#define B "22222222-2222-2222-2222-222222222222"

static struct source_list one(const char *path, bool writable, bool shareable)
{
	struct source_list list = {};

	assert_int_equal(source_list_add(&list, path, writable, shareable), 0);
	return list;
}

static int claim(struct domain *domain, const char *name, const char *path, bool writable,
		 bool shareable, struct error **errp)
{
	struct source_list list = one(path, writable, shareable);

	return domain_claim(domain, name, &list, errp);
}

static void refuses_a_source_that_is_written_twice(void **state)
{
	_cleanup_domain_ struct domain *a = domain_get(A);
	_cleanup_domain_ struct domain *b = domain_get(B);
	_cleanup_error_ struct error *err = NULL;

	assert_int_equal(claim(a, "first", "/nowhere/x", true, false, NULL), 0);
	assert_int_equal(claim(b, "second", "/nowhere/x", true, false, &err), -EBUSY);
	assert_non_null(strstr(error_message(err), "'first'"));
	assert_non_null(strstr(error_message(err), "/nowhere/x"));
	/* Reading what another one writes is no better. */
	assert_int_equal(claim(b, "second", "/nowhere/x", false, false, NULL), -EBUSY);
	assert_int_equal(claim(b, "second", "/nowhere/x", true, true, NULL), -EBUSY);
	/* Its own source again, at its next start. */
	assert_int_equal(claim(a, "first", "/nowhere/x", true, false, NULL), 0);
	domain_release(a);
	assert_int_equal(claim(b, "second", "/nowhere/x", true, false, NULL), 0);
	domain_release(b);
}

static void allows_what_is_meant_to_be_shared(void **state)
{
	_cleanup_domain_ struct domain *a = domain_get(A);
	_cleanup_domain_ struct domain *b = domain_get(B);

	assert_int_equal(claim(a, "first", "/nowhere/x", true, true, NULL), 0);
	assert_int_equal(claim(b, "second", "/nowhere/x", true, true, NULL), 0);
	domain_release(a);
	domain_release(b);
	assert_int_equal(claim(a, "first", "/nowhere/x", false, false, NULL), 0);
	assert_int_equal(claim(b, "second", "/nowhere/x", false, false, NULL), 0);
	domain_release(a);
	domain_release(b);
}

static void knows_a_file_by_all_its_names(void **state)
{
	char path[] = "/tmp/virtnvme-source-XXXXXX", link_path[64];
	_cleanup_domain_ struct domain *a = domain_get(A);
	_cleanup_domain_ struct domain *b = domain_get(B);
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	snprintf(link_path, sizeof(link_path), "%s-link", path);
	assert_int_equal(symlink(path, link_path), 0);
	assert_int_equal(claim(a, "first", path, true, false, NULL), 0);
	assert_int_equal(claim(b, "second", link_path, true, false, NULL), -EBUSY);
	unlink(link_path);
	unlink(path);
	domain_release(a);
}

static void gathers_marks_into_one_look(void **state)
{
	_cleanup_domain_ struct domain *a = domain_get(A);

	assert_true(domain_mark(a));
	assert_false(domain_mark(a)); /* queued already */
	domain_begin(a);
	assert_false(domain_mark(a)); /* while it is being looked at */
	assert_true(domain_end(a));   /* so once more */
	domain_begin(a);
	assert_false(domain_end(a));
	assert_true(domain_mark(a));
	domain_begin(a);
	domain_end(a);
}

static void a_start_changes_the_epoch(void **state)
{
	_cleanup_domain_ struct domain *a = domain_get(A);
	unsigned before = domain_epoch(a);

	domain_starting(a);
	assert_int_not_equal(domain_epoch(a), before);
}

static void forgets_only_what_nobody_uses(void **state)
{
	struct domain *a = domain_get(A);
	struct domain *again = domain_get(A);

	assert_ptr_equal(a, again);
	domain_forget(a); /* a hook holds it */
	domain_put(again);
	again = domain_find(A);
	assert_ptr_equal(again, a);
	domain_put(again);
	assert_int_equal(claim(a, "first", "/nowhere/y", true, false, NULL), 0);
	domain_forget(a); /* it runs */
	again = domain_find(A);
	assert_ptr_equal(again, a);
	domain_put(again);
	domain_release(a);
	domain_forget(a);
	assert_null(domain_find(A));
	domain_put(a);
}

static void reads_qemus_owner_from_the_capabilities(void **state)
{
	static const char xml[] =
		"<capabilities><host><secmodel><model>apparmor</model><doi>0</doi></secmodel>"
		"<secmodel><model>dac</model><doi>0</doi>"
		"<baselabel type='kvm'>+64055:+994</baselabel>"
		"<baselabel type='qemu'>+64055:+994</baselabel></secmodel></host></capabilities>";
	uid_t uid;
	gid_t gid;

	assert_int_equal(capabilities_dac_owner(xml, &uid, &gid), 0);
	assert_int_equal(uid, 64055);
	assert_int_equal(gid, 994);
	assert_int_equal(capabilities_dac_owner("<capabilities/>", &uid, &gid), -ENOENT);
	assert_int_equal(capabilities_dac_owner("not XML", &uid, &gid), -ENOENT);
	assert_int_equal(capabilities_dac_label("root:root", &uid, &gid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(capabilities_dac_label("+1", &uid, &gid), -EINVAL);
	assert_int_equal(capabilities_dac_label("no such user:+1", &uid, &gid), -EINVAL);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_a_source_that_is_written_twice),
		cmocka_unit_test(allows_what_is_meant_to_be_shared),
		cmocka_unit_test(knows_a_file_by_all_its_names),
		cmocka_unit_test(gathers_marks_into_one_look),
		cmocka_unit_test(a_start_changes_the_epoch),
		cmocka_unit_test(forgets_only_what_nobody_uses),
		cmocka_unit_test(reads_qemus_owner_from_the_capabilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
