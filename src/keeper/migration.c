// SPDX-License-Identifier: LGPL-2.1-or-later
#include "keeper/migration.h"

enum migration_state {
	MIGRATION_NONE,
	MIGRATION_INCOMING,
};

struct migration {
	enum migration_state state;
	uint64_t permit_seconds, permit_micros;
	char *permit_refused;
};

struct migration *migration_new(bool incoming)
{
	struct migration *migration = calloc(1, sizeof(*migration));

	if (migration)
		migration->state = incoming ? MIGRATION_INCOMING : MIGRATION_NONE;
	return migration;
}

void migration_free(struct migration *migration)
{
	if (!migration)
		return;
	free(migration->permit_refused);
	free(migration);
}

void migration_permit(struct migration *migration, const struct migration_permit *permit)
{
	migration->permit_seconds = permit->seconds;
	migration->permit_micros = permit->micros;
	free(migration->permit_refused);
	migration->permit_refused = permit->refused ? strdup(permit->refused) : NULL;
}

const char *migration_state_name(const struct migration *migration)
{
	static const char *const names[] = {
		[MIGRATION_NONE] = "none",
		[MIGRATION_INCOMING] = "incoming",
	};

	return names[migration->state];
}

bool migration_is_incoming(const struct migration *migration)
{
	return migration->state == MIGRATION_INCOMING;
}

bool migration_is_under_way(const struct migration *migration)
{
	return migration->state != MIGRATION_NONE;
}
