/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A strict reader of RFC 8259 JSON for the host description: bounded in depth and in number
 * of values, no extensions. Strings keep UTF-8 as it is; \u escapes are decoded up to U+FFFF
 * without surrogates, which the description has no use for.
 */
#ifndef LAB_JSON_H
#define LAB_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum json_type { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json_value {
	enum json_type type;
	const char *name;		/* key in an object, else NULL */
	bool boolean;
	double number;			/* whole numbers are exact up to 2^53 */
	const char *string;
	const struct json_value *first;	/* members or elements */
	const struct json_value *next;
};

struct json_document;

/* NULL if the text is not JSON; *error then says what and where (static buffer's text). */
struct json_document *json_parse(const char *text, const char **error);
void json_free(struct json_document *document);
const struct json_value *json_root(const struct json_document *document);

/* NULL if value is no object or has no such member. */
const struct json_value *json_member(const struct json_value *value, const char *name);

/* The member's value, or the fallback if it is absent or of another type. */
double json_number(const struct json_value *object, const char *name, double fallback);
const char *json_string(const struct json_value *object, const char *name, const char *fallback);
bool json_boolean(const struct json_value *object, const char *name, bool fallback);

#endif
