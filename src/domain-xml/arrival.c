// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain-xml/arrival.h"

#include <errno.h>
#include <stdio.h>

#include "domain-xml/pci.h"

static xmlNode *find_controller(const xmlNode *devices, unsigned index)
{
	xmlNode *controller;
	unsigned long found;

	xml_for_each(controller, devices, METADATA_NAMESPACE, "controller")
	{
		const char *text = xml_attribute(controller, "index");

		if (text && xml_unsigned(text, METADATA_MAX_CONTROLLERS - 1, &found) == 0 &&
		    found == index)
			return controller;
	}
	return NULL;
}

/* One that nothing wishes: parked. */
static xmlNode *add_controller(xmlNode *devices, unsigned index)
{
	xmlNode *controller = xml_insert(devices, NULL, devices->ns, "controller");
	char text[16];

	snprintf(text, sizeof(text), "%u", index);
	return controller && xml_set_attribute(controller, "index", text) ? controller : NULL;
}

static int record_device(xmlNode *devices, const struct layout_device *device, bool *changed)
{
	xmlNode *controller = find_controller(devices, device->index), *live;
	bool parked = !controller;
	char address[16];

	if (xml_child(controller, METADATA_NAMESPACE, "live"))
		return 0;
	if (parked)
		controller = add_controller(devices, device->index);
	if (!controller)
		return -ENOMEM;
	pci_format_address(&device->place, address);
	live = xml_insert(controller, NULL, devices->ns, "live");
	*changed = true;
	return live && xml_set_attribute(live, "bus", device->place.bus) &&
			       xml_set_attribute(live, "addr", address) &&
			       (!parked || xml_set_attribute(live, "parked", "yes"))
		       ? 0
		       : -ENOMEM;
}

int arrival_record(xmlNode *devices, const struct layout *layout, bool *changed)
{
	size_t i;
	int r = 0;

	for (i = 0; r == 0 && i < layout->device_count; i++)
		r = record_device(devices, &layout->devices[i], changed);
	return r;
}
